//! Generated code stays silent where its user has made every warning an error: models are private,
//! never constructed and not named as Rust names them.

#![deny(warnings, missing_docs, unused, nonstandard_style, rust_2018_idioms, unsafe_code)]
#![deny(clippy::all, clippy::pedantic)]

use migrate_core::schema::{ModelKind, OnDelete, Orphan};
use migrate_core::{Migrate, PgEnum, Registry, registry};

mod own {
    //! A column type of the user's own.
    use migrate_core::cell::{CellContext, Wrote};
    use migrate_core::schema::{BaseType, CellType};
    use migrate_core::{Mismatch, Scalar, ToCell, Value};

    macro_rules! cell {
        ($name:ident, $base:ident) => {
            #[derive(Default)]
            pub(crate) struct $name;
            impl ToCell for $name {
                const TYPE: CellType = CellType::scalar(BaseType::$base);
                type Literal = Self;
                fn encode(
                    _: Value<'_>,
                    _: &CellContext,
                    _: &mut Vec<u8>,
                ) -> Result<Wrote, Mismatch> {
                    Ok(Wrote::Payload)
                }
                fn write(&self, _: &CellContext, _: &mut Vec<u8>) -> Result<Wrote, Mismatch> {
                    Ok(Wrote::Payload)
                }
            }
            impl Scalar for $name {}
        };
    }
    cell!(Id, Uuid);
    cell!(Text, Text);
    cell!(Time, Timestamp);
}
use own::{Id, Text, Time};

type Maybe<T> = Option<T>;

#[derive(Migrate)]
#[migrate(collection = "users", schema = "crm", column_case = "camelCase", unique(email, r#type))]
struct Users {
    #[migrate(id)]
    id: Id,
    #[migrate(unique, pg_type = "varchar(200)", alias = "mail", alias = "eMail")]
    email: Text,
    r#type: Option<Text>,
    #[migrate(id_time, rename = "createdAt", db_default = "now()", pg_type = "timestamp(3)")]
    created_at: Time,
    #[migrate(skip)]
    #[deprecated]
    password: std::cell::Cell<u8>,
    #[fk(Self, on_delete = set_null)]
    boss: Maybe<Id>,
}

#[derive(Migrate)]
struct Tasks {
    #[migrate(id)]
    id: Id,
    #[fk(Users, orphan = null)]
    #[migrate(index, empty_as_null)]
    user: Maybe<Id>,
    #[migrate(default = Text)]
    title: Text,
    #[migrate(default)]
    status: Status,
    #[migrate(with = from_value)]
    priority: Text,
    #[migrate(compute = from_document)]
    size: Option<Text>,
    #[junction(TasksToUsers)]
    watchers: Vec<Id>,
}

#[derive(Migrate)]
#[migrate(junction)]
struct TasksToUsers {
    #[fk(Tasks, on_delete = cascade)]
    task: Id,
    #[fk(Users, on_delete = cascade)]
    #[migrate(index, column = "user_id")]
    user: Id,
}

#[derive(Default, PgEnum)]
#[migrate(name = "task_status", rename_all = "UPPERCASE")]
enum Status {
    #[default]
    Open,
    #[migrate(rename = "in progress")]
    InProgress,
}

#[expect(clippy::unnecessary_wraps, reason = "a conversion may fail")]
fn from_value(_: migrate_core::Value<'_>) -> Result<Text, String> {
    Ok(Text)
}

#[expect(clippy::unnecessary_wraps, reason = "a conversion may fail")]
fn from_document(_: &migrate_core::bson::RawDocument) -> Result<Option<Text>, std::fmt::Error> {
    Ok(None)
}

// What a macro passes on arrives in invisible groups.
macro_rules! model {
    ($name:ident, $table:literal, $target:path, $ty:ty, $default:expr, $with:path) => {
        #[derive(Migrate)]
        #[migrate(table = $table)]
        struct $name {
            #[migrate(id)]
            id: $ty,
            #[fk($target)]
            target: $ty,
            #[migrate(default = $default, with = $with)]
            text: Text,
        }
    };
}
model!(Made, "made by a macro", self::Users, Id, Text, from_value);

registry! {
    /// Every model of this file.
    Shop = [TasksToUsers, Tasks, Users, Made]
}

#[test]
fn facts_are_what_the_attributes_say() {
    let facts = Shop::FACTS;
    assert_eq!(facts.name, "Shop");
    assert_eq!(facts.phases, [2, 1, 0, 1]);
    assert_eq!(facts.model("Made").unwrap().table, "made by a macro");
    let users = facts.model("Users").unwrap();
    assert_eq!((users.collection, users.schema, users.table), ("users", Some("crm"), "Users"));
    assert_eq!(users.kind, ModelKind::Collection);
    assert_eq!(users.skipped, ["password"]);
    let columns: Vec<_> = users.columns.iter().map(|column| (column.name, column.keys)).collect();
    let expected: [(&str, &[&str]); 5] = [
        ("id", &["_id"]),
        ("email", &["email", "mail", "eMail"]),
        ("type", &["type"]),
        ("createdAt", &["createdAt"]),
        ("boss", &["boss"]),
    ];
    assert_eq!(columns, expected);
    assert_eq!(users.indexes[0].columns, ["email", "type"]);
    assert!(users.indexes[0].unique);
    let boss = users.column("boss").unwrap().1;
    assert!(boss.nullable, "an alias of `Option` is an `Option`");
    let reference = boss.reference.unwrap();
    assert!(reference.target.get().same(users));
    assert_eq!(reference.on_delete, OnDelete::SetNull);
    assert_eq!(reference.orphan, Orphan::Default);

    let tasks = facts.model("Tasks").unwrap();
    let junction = &tasks.junctions[0];
    assert_eq!(junction.table.get().name, "TasksToUsers");
    assert_eq!(junction.sides(tasks), (0, 1));
    let status = tasks.column("status").unwrap().1;
    assert_eq!(status.sql_type(), "\"task_status\"");
    assert_eq!(Status::ENUM.labels, ["OPEN", "in progress"]);
    let keys: Vec<_> = junction.table.get().primary_key().map(|column| column.name).collect();
    assert_eq!(keys, ["task", "user_id"]);
}
