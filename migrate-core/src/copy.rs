//! What stands around the tuples of a binary COPY: header, trailer and the statement.

use crate::schema::quote_ident;

/// The signature, no flags, no header extension.
pub const HEADER: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The end of the data: the cell count -1.
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// The statement that loads rows with these columns, as in
/// `COPY "public"."Tasks" ("id", "title") FROM STDIN (FORMAT binary)`.
pub fn copy_statement<'a>(
    schema: &str,
    table: &str,
    columns: impl IntoIterator<Item = &'a str>,
) -> String {
    let columns: Vec<String> = columns.into_iter().map(quote_ident).collect();
    let (schema, table) = (quote_ident(schema), quote_ident(table));
    format!("COPY {schema}.{table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_case() {
        assert_eq!(
            copy_statement("public", "crm_Contacts", ["id", "a\"b"]),
            r#"COPY "public"."crm_Contacts" ("id", "a""b") FROM STDIN (FORMAT binary)"#
        );
    }
}
