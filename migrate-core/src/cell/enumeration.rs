//! PostgreSQL enums, from BSON strings that are one of the labels.

use bson::spec::ElementType;

use super::{CellContext, Mismatch, PgEnum, Wrote};
use crate::reject::Reason;
use crate::schema::EnumType;
use crate::value::Value;

/// Appends the label that a string holds; `#[derive(PgEnum)]` calls it.
///
/// The derive makes the `ToCell` of each enum and not one implementation for them all, because
/// that would leave rustc in doubt about `Option<T>` and `Vec<T>`: an error inside would be told
/// of the whole.
#[inline]
pub(crate) fn encode<E: PgEnum>(
    value: Value<'_>,
    _: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    encode_label(E::ENUM, value, out)
}

/// Appends the label of a value.
pub(crate) fn write<E: PgEnum>(
    value: &E,
    _: &CellContext,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    out.extend_from_slice(value.label().as_bytes());
    Ok(Wrote::Payload)
}

fn encode_label(
    ty: &'static EnumType,
    value: Value<'_>,
    out: &mut Vec<u8>,
) -> Result<Wrote, Mismatch> {
    if value.kind != ElementType::String {
        return Err(Mismatch::wrong_type(one_of(ty), value));
    }
    let text = value.str_bytes();
    if ty.labels.iter().any(|label| label.as_bytes() == text) {
        out.extend_from_slice(text);
        return Ok(Wrote::Payload);
    }
    match value.as_str() {
        Ok(_) => Err(Mismatch::found(Reason::Label, one_of(ty), value)),
        Err(mismatch) => Err(mismatch),
    }
}

#[cold]
fn one_of(ty: &EnumType) -> String {
    format!("a label of {} ({})", ty.name, ty.labels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{encode, reason, value};
    use super::super::{ToCell, testing};
    use crate::reject::Reason;
    use bson::Bson;

    #[derive(crate::PgEnum)]
    #[migrate(rename_all = "lowercase")]
    enum Traffic {
        #[migrate(rename = "STOP")]
        Stop,
        Go,
    }

    #[test]
    fn labels_are_taken_to_the_letter() {
        let text = |text: &str| Bson::String(text.to_owned());
        assert_eq!(encode::<Traffic>(&text("STOP")), b"STOP");
        assert_eq!(reason::<Traffic>(&text("stop")), Reason::Label);
        assert_eq!(reason::<Traffic>(&text("")), Reason::Label);
        assert_eq!(reason::<Traffic>(&Bson::Int32(0)), Reason::Type);
        let mut out = Vec::new();
        Traffic::Go.write(&testing::context(), &mut out).unwrap();
        assert_eq!(out, b"go");
    }

    #[test]
    fn the_message_lists_the_labels() {
        let bson = Bson::String("slow".into());
        let document = value(&bson);
        let context = testing::context();
        let mismatch = Traffic::encode(document.value(), &context, &mut Vec::new()).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "expected a label of Traffic (STOP, go), found string \"slow\""
        );
    }
}
