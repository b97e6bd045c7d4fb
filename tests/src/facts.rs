//! The facts of NextCRM as its tables of fields, indexes, enums and junctions state them: what the
//! models are measured against, and what the oracle follows instead of the models.

/// All facts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The tables of collections, in the order of the facts.
    pub tables: Vec<Table>,
    /// The junction tables.
    pub junctions: Vec<Junction>,
    /// Secondary indexes: table and columns.
    pub indexes: Vec<(String, Vec<String>)>,
    /// Enum types and their labels.
    pub enums: Vec<(String, Vec<String>)>,
}

/// A table and the collection of the same name.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name of both.
    pub name: String,
    /// The fields.
    pub fields: Vec<Field>,
}

/// One line of the facts about a field.
#[derive(Clone, Debug)]
pub struct Field {
    /// The document key.
    pub key: String,
    /// The type in MongoDB, as in `objectId?`.
    pub mongo_type: String,
    /// The column, or `None` for an array that fills a junction.
    pub column: Option<Column>,
}

/// One line of the facts about a column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as in `enum taskStatus`.
    pub pg_type: String,
    /// Whether it takes NULL.
    pub nullable: bool,
    /// The default as the facts spell it; empty for none.
    pub default: String,
    /// Whether the application keeps it current.
    pub kept_current: bool,
    /// Whether it is (a part of) the primary key.
    pub primary_key: bool,
    /// Whether it is unique.
    pub unique: bool,
    /// The table whose id it refers to, and whether a delete there cascades.
    pub reference: Option<(String, bool)>,
}

/// A junction table.
#[derive(Clone, Debug)]
pub struct Junction {
    /// Its name.
    pub name: String,
    /// Its columns with the tables they refer to.
    pub columns: [(String, String); 2],
    /// The same columns with everything else about them.
    pub full: Vec<Column>,
    /// The arrays that fill it: table and key.
    pub filled_from: Vec<(String, String)>,
}

impl Facts {
    /// NextCRM.
    ///
    /// # Panics
    /// When the files do not have the form their head line states.
    pub fn nextcrm() -> Self {
        Self::parse(
            include_str!("../nextcrm/fields.tsv"),
            include_str!("../nextcrm/indexes.tsv"),
            include_str!("../nextcrm/enums.tsv"),
            include_str!("../nextcrm/junctions.tsv"),
        )
    }

    fn parse(fields: &str, indexes: &str, enums: &str, junctions: &str) -> Self {
        let junction_names: Vec<&str> =
            junctions.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
        let mut tables: Vec<Table> = Vec::new();
        let mut junction_columns: Vec<(&str, Column)> = Vec::new();
        for line in fields.lines().skip(1) {
            let cells: Vec<&str> = line.split('\t').collect();
            let [
                model,
                key,
                mongo_type,
                _,
                column,
                pg_type,
                null,
                default,
                updated,
                pg_key,
                refers,
            ] = cells[..]
            else {
                panic!("a line of `fields.tsv` has {} cells: {line}", cells.len());
            };
            let column = (!column.is_empty()).then(|| Column {
                name: column.to_owned(),
                pg_type: pg_type.to_owned(),
                nullable: null == "null",
                default: default.to_owned(),
                kept_current: updated == "now",
                primary_key: pg_key == "pk",
                unique: pg_key == "unique",
                reference: refers
                    .split_once(".id")
                    .map(|(table, rest)| (table.to_owned(), rest.trim() == "on delete cascade")),
            });
            if junction_names.contains(&model) {
                junction_columns.push((model, column.expect("a junction has columns only")));
                continue;
            }
            let field = Field { key: key.to_owned(), mongo_type: mongo_type.to_owned(), column };
            match tables.iter_mut().find(|table| table.name == model) {
                Some(table) => table.fields.push(field),
                None => tables.push(Table { name: model.to_owned(), fields: vec![field] }),
            }
        }
        let junctions = junctions
            .lines()
            .skip(1)
            .map(|line| {
                let cells: Vec<&str> = line.split('\t').collect();
                let side = |cell: &str| {
                    let (column, table) = cell.split_once(" -> ").expect("`column -> Table`");
                    (column.to_owned(), table.to_owned())
                };
                Junction {
                    name: cells[0].to_owned(),
                    columns: [side(cells[1]), side(cells[2])],
                    full: junction_columns
                        .iter()
                        .filter(|(name, _)| *name == cells[0])
                        .map(|(_, column)| column.clone())
                        .collect(),
                    filled_from: cells[3]
                        .split(", ")
                        .map(|source| {
                            let (table, key) = source.split_once('.').expect("`Table.key`");
                            (table.to_owned(), key.to_owned())
                        })
                        .collect(),
                }
            })
            .collect();
        let pairs = |text: &str| -> Vec<(String, Vec<String>)> {
            text.lines()
                .skip(1)
                .filter_map(|line| line.split_once('\t'))
                .map(|(name, list)| {
                    (name.to_owned(), list.split(',').map(|part| part.trim().to_owned()).collect())
                })
                .collect()
        };
        Self { tables, junctions, indexes: pairs(indexes), enums: pairs(enums) }
    }

    /// The table of that name.
    ///
    /// # Panics
    /// When there is none.
    pub fn table(&self, name: &str) -> &Table {
        self.tables.iter().find(|table| table.name == name).expect("a table of the facts")
    }
}

impl Table {
    /// The columns, in order.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.fields.iter().filter_map(|field| field.column.as_ref())
    }
}

impl Column {
    /// The default as a literal: neither a function nor nothing.
    pub fn literal(&self) -> Option<&str> {
        (!self.default.is_empty() && !self.default.ends_with("()"))
            .then(|| self.default.trim_matches('"'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextcrm_has_29_tables_and_10_junctions() {
        let facts = Facts::nextcrm();
        assert_eq!(facts.tables.len(), 29);
        assert_eq!(facts.junctions.len(), 10);
        assert_eq!(facts.enums.len(), 10);
        assert!(facts.junctions.iter().all(|junction| junction.full.len() == 2));
        let task = facts.table("tasksComments").columns().find(|column| column.name == "task");
        assert_eq!(task.unwrap().reference, Some(("Tasks".to_owned(), true)));
        let email = facts.table("Users").columns().find(|column| column.unique);
        assert_eq!(email.unwrap().name, "email");
    }
}
