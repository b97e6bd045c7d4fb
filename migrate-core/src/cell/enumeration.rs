//! PostgreSQL enums, from BSON strings that are one of the labels.

use bson::spec::ElementType;

use super::{CellContext, Mismatch, PgEnum, Scalar, ToCell, Wrote};
use crate::reject::Reason;
use crate::schema::{BaseType, CellType, EnumType};
use crate::value::Value;

// Without the hint an error about any type that is no column would speak of enums.
#[diagnostic::do_not_recommend]
impl<E: PgEnum> ToCell for E {
    const TYPE: CellType = CellType::scalar(BaseType::Enum(E::ENUM));
    type Literal = Self;

    #[inline]
    fn encode(value: Value<'_>, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        encode_label(E::ENUM, value, out)
    }

    fn write(&self, _: &CellContext, out: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
        out.extend_from_slice(self.label().as_bytes());
        Ok(Wrote::Payload)
    }
}

#[diagnostic::do_not_recommend]
impl<E: PgEnum> Scalar for E {}

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
    use super::*;
    use bson::Bson;

    enum Traffic {
        Go,
    }

    impl PgEnum for Traffic {
        const ENUM: &'static EnumType =
            &EnumType { name: "Traffic", schema: None, labels: &["STOP", "go"] };

        fn label(&self) -> &'static str {
            "go"
        }
    }

    #[test]
    fn labels_are_taken_to_the_letter() {
        let text = |text: &str| Bson::String(text.to_owned());
        assert_eq!(encode::<Traffic>(&text("STOP")), b"STOP");
        assert_eq!(reason::<Traffic>(&text("stop")), Reason::Label);
        assert_eq!(reason::<Traffic>(&text("")), Reason::Label);
        assert_eq!(reason::<Traffic>(&Bson::Int32(0)), Reason::Type);
        let mut out = Vec::new();
        Traffic::Go.write(&super::super::testing::context(), &mut out).unwrap();
        assert_eq!(out, b"go");
    }

    #[test]
    fn the_message_lists_the_labels() {
        let bson = Bson::String("slow".into());
        let document = value(&bson);
        let context = super::super::testing::context();
        let mismatch = Traffic::encode(document.value(), &context, &mut Vec::new()).unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "expected a label of Traffic (STOP, go), found string \"slow\""
        );
    }
}
