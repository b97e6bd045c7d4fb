//! Faults that tests plant in a loaded target.

use migrate_core::schema::{BaseType, Column, quote_ident};

/// An SQL expression for another value of a column, whatever its cell holds.
///
/// # Panics
/// For a type that no column of NextCRM has.
pub fn changed(column: &Column) -> String {
    let name = quote_ident(column.name);
    match (column.ty.base, column.ty.dimensions) {
        (BaseType::Text, 0) => format!("coalesce({name}, '') || 'x'"),
        (BaseType::Text, _) => format!("array_append({name}, 'x')"),
        (BaseType::Uuid, 0) => "gen_random_uuid()".to_owned(),
        (BaseType::Uuid, _) => format!("array_append({name}, gen_random_uuid())"),
        (BaseType::Bool, _) => format!("NOT coalesce({name}, false)"),
        (BaseType::Int2 | BaseType::Int4 | BaseType::Int8, _) => {
            format!("CASE WHEN {name} > 0 THEN {name} - 1 ELSE coalesce({name}, 7) + 1 END")
        }
        // What a shifted time zone does.
        (BaseType::Timestamp, _) => format!("coalesce({name}, now()) + interval '1 hour'"),
        (BaseType::Jsonb, _) => format!(r#"coalesce({name}, '[]') || '{{"planted": 1}}'"#),
        (BaseType::Enum(ty), _) => {
            let (first, second) = (ty.labels[0], ty.labels[1]);
            let ty = quote_ident(ty.name);
            format!("CASE WHEN {name} = '{first}' THEN '{second}' ELSE '{first}' END::{ty}")
        }
        (other, _) => panic!("no other value for {other:?}"),
    }
}
