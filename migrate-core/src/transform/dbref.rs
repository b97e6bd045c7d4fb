//! References that name their collection: DBRefs and the old DBPointers.
//!
//! <https://www.mongodb.com/docs/manual/reference/database-references/>

use bson::spec::ElementType;

use crate::cell::Mismatch;
use crate::reject::Reason;
use crate::schema::{Model, Reference};
use crate::value::Value;

/// The model whose `_id`s a reference holds; `None` where it holds another key, which no DBRef
/// names.
pub(super) fn target(reference: Option<&Reference>) -> Option<&'static Model> {
    let reference = reference?;
    let target = reference.target.get();
    match reference.key {
        Some(key) => target.column(key)?.1.primary_key.then_some(target),
        None => Some(target),
    }
}

/// The id in a DBRef or a DBPointer, and any other value as it is.
///
/// # Errors
/// When it names another collection than the target's: the id would be that of another document.
#[inline]
pub(super) fn resolve<'a>(value: Value<'a>, target: &Model) -> Result<Value<'a>, Mismatch> {
    match value.kind {
        ElementType::EmbeddedDocument => of_document(value, target),
        ElementType::DbPointer => of_pointer(value, target),
        _ => Ok(value),
    }
}

#[cold]
fn of_document<'a>(value: Value<'a>, target: &Model) -> Result<Value<'a>, Mismatch> {
    let (mut collection, mut id) = (None, None);
    for element in value.elements() {
        match element? {
            (b"$ref", name) if name.kind == ElementType::String => {
                collection = Some(name.as_str()?)
            }
            (b"$id", value) => id = Some(value),
            _ => {}
        }
    }
    match (collection, id) {
        (Some(collection), Some(id)) => {
            same_collection(collection, target)?;
            Ok(id)
        }
        _ => Ok(value),
    }
}

#[cold]
fn of_pointer<'a>(value: Value<'a>, target: &Model) -> Result<Value<'a>, Mismatch> {
    const ID_BYTES: usize = 12;
    let (namespace, id) = value.bytes.split_at(value.bytes.len() - ID_BYTES);
    let namespace = Value::new(ElementType::String, namespace).as_str()?;
    // The name of the database may stand in front.
    let collection = namespace.split_once('.').map_or(namespace, |(_, collection)| collection);
    if !target.collections().any(|name| name == namespace) {
        same_collection(collection, target)?;
    }
    Ok(Value::new(ElementType::ObjectId, id))
}

fn same_collection(collection: &str, target: &Model) -> Result<(), Mismatch> {
    if target.collections().any(|name| name == collection) {
        return Ok(());
    }
    let names: Vec<&str> = target.collections().collect();
    let expected = format!("a reference to `{}`", names.join("` or `"));
    Err(Mismatch::new(Reason::Type, expected, format!("one to `{collection}`")))
}
