//! Expansions, with input and output in one snapshot: one per feature, so that a reviewer reads
//! what is written and what comes of it.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;

use crate::symbol::{Place, SYMBOLS};

/// Input and expansion, both printed as rustfmt would.
fn show(expand: fn(TokenStream) -> TokenStream, input: &str) -> String {
    let output = expand(input.parse().expect("the input is made of tokens"));
    format!("{}\n// expands to\n\n{}", pretty(input), pretty(&output.to_string()))
}

fn pretty(tokens: &str) -> String {
    prettyplease::unparse(&syn2::parse_file(tokens).expect("items"))
}

/// Compares with the snapshot of that name, which holds the text and nothing else.
fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

macro_rules! snapshot {
    ($name:ident, $expand:ident, $input:literal) => {
        #[test]
        fn $name() {
            assert_snapshot(stringify!($name), &show(crate::$expand, $input));
        }
    };
}

snapshot!(
    plain,
    migrate,
    "
    struct Users {
        #[migrate(id)]
        id: Uuid,
        name: String,
        r#type: Option<String>,
    }
"
);

snapshot!(
    names,
    migrate,
    r#"
    #[migrate(collection = "users", table = "people", schema = "crm")]
    #[migrate(rename_all = "camelCase", column_case = "SCREAMING_SNAKE_CASE")]
    struct Users {
        #[migrate(id, column = "user_id")]
        id: Uuid,
        #[migrate(alias = "name", alias = "fullName")]
        first_name: String,
        #[migrate(rename = "E-Mail", column = "mail")]
        e_mail: String,
        #[migrate(skip, alias = "pass")]
        pass_word: String,
    }
"#
);

snapshot!(
    children,
    migrate,
    r#"
    #[migrate(collection = "customers")]
    struct Customers {
        #[migrate(id)]
        id: i32,
        #[child(Rentals)]
        #[migrate(rename = "Rentals")]
        rentals: Vec<Rentals>,
    }
"#
);

snapshot!(
    child,
    migrate,
    r#"
    #[migrate(child)]
    struct Rentals {
        #[migrate(id, rename = "rentalId")]
        id: i32,
        #[migrate(parent)]
        #[fk(Customers)]
        customer: i32,
        #[migrate(position)]
        ordinal: i32,
        #[migrate(rename = "_id")]
        old_id: Option<Uuid>,
    }
"#
);

snapshot!(
    values,
    migrate,
    r#"
    struct Users {
        #[migrate(id)]
        id: Uuid,
        #[migrate(rename = "__v", default = 0)]
        v: i32,
        #[migrate(default)]
        status: Status,
        #[migrate(default = "DE".into(), db_default = "'DE'", pg_type = "varchar(2)")]
        country: String,
        #[migrate(id_time, db_default = "now()")]
        created_at: NaiveDateTime,
        #[migrate(empty_as_null)]
        avatar: Option<Uuid>,
        #[migrate(json)]
        notes: Json,
        #[migrate(json = "extended")]
        raw: Option<Json>,
        #[migrate(with = convert::money)]
        budget: Option<Decimal>,
        #[migrate(compute = convert::size)]
        size: i64,
    }
"#
);

snapshot!(
    steps,
    migrate,
    r#"
    struct Films {
        #[migrate(id)]
        id: i32,
        #[migrate(rename = "Special Features", split = ",", trim)]
        special_features: Vec<String>,
        #[migrate(trim, map(A = "active", "N/A" = null), on_invalid = null)]
        state: Option<State>,
        #[migrate(lenient("%Y-%m-%d %H:%M:%S%.f", "%d.%m.%Y"), truncate)]
        returned: Option<NaiveDate>,
        #[migrate(lenient, default = 0, on_invalid = default)]
        length: i16,
        #[migrate(nul = replace, truncate, pg_type = "varchar(80)")]
        title: String,
        #[migrate(json, nul = strip)]
        raw: Json,
    }
"#
);

snapshot!(
    indexes,
    migrate,
    r#"
    #[migrate(index(name, created_at), unique(r#type))]
    struct Users {
        #[migrate(id)]
        id: Uuid,
        #[migrate(index)]
        name: String,
        #[migrate(unique)]
        mail: String,
        #[migrate(column = "created")]
        created_at: NaiveDate,
        r#type: i16,
    }
"#
);

snapshot!(
    references,
    migrate,
    r#"
    struct Tasks {
        #[migrate(id)]
        id: Uuid,
        #[fk(Users)]
        user: Uuid,
        #[fk(crate::boards::Boards, on_delete = cascade, deferred)]
        board: Uuid,
        #[fk(Self, on_delete = set_null, orphan = null)]
        parent: Option<Uuid>,
        #[fk(Accounts, key = "code", orphan = keep)]
        account: String,
    }
"#
);

snapshot!(
    junction_fields,
    migrate,
    r#"
    struct Tasks {
        #[migrate(id)]
        id: Uuid,
        #[junction(DocumentsToTasks)]
        #[migrate(rename = "documentIDs")]
        documents: Vec<Uuid>,
        #[junction(TasksToTasks, owner = before)]
        after: Option<Vec<Uuid>>,
    }
"#
);

snapshot!(
    junction,
    migrate,
    r#"
    #[migrate(junction, table = "documents_to_tasks")]
    struct DocumentsToTasks {
        #[fk(Documents, on_delete = cascade)]
        #[migrate(index, column = "document_id")]
        document: Uuid,
        #[fk(Tasks, on_delete = cascade)]
        #[migrate(index, column = "task_id")]
        task: Uuid,
    }
"#
);

snapshot!(
    pg_enum,
    pg_enum,
    r#"
    #[migrate(name = "task_status", schema = "crm", rename_all = "UPPERCASE")]
    enum TaskStatus {
        Active,
        #[migrate(rename = "in work")]
        InWork,
        r#Done,
        #[migrate(other)]
        Unknown,
    }
"#
);

snapshot!(
    parts,
    migrate,
    r#"
    #[migrate(
        collection = "parties",
        when(kind = ["company", "firm"], "state.active" = [true, null], level = -1),
        filter = crate::is_recent
    )]
    struct Companies {
        #[migrate(id)]
        id: Uuid,
    }
"#
);

snapshot!(
    gathered,
    migrate,
    r#"
    #[migrate(collection = ["orders_2023", "orders_2024"], when("_id.shop" = 1))]
    struct Orders {
        #[migrate(id)]
        id: Uuid,
        #[migrate(path = "_id.month")]
        month: i32,
        #[migrate(origin)]
        source: String,
    }
"#
);

snapshot!(
    mistakes_of_a_model,
    migrate,
    "
    struct Users {
        #[migrate(nullable)]
        id: Uuid,
    }
"
);

snapshot!(
    mistakes_of_an_enum,
    pg_enum,
    "
    enum Status {
        Active(bool),
    }
"
);

/// The macro's input is no item, so it is shown as it is.
#[test]
fn registry() {
    let input = "
        /// All of the shop.
        pub(crate) Shop = [Users, orders::Orders];
        enums = [Status]
    ";
    let output = crate::registry_facts(input.parse().expect("the input is made of tokens"));
    let text = format!("{input}\n// expands to\n\n{}", pretty(&output.to_string()));
    assert_snapshot("registry", &text);
}

/// What one field costs the compiler; the number is a promise about the size of generated code.
#[test]
fn tokens_per_field() {
    fn count(tokens: TokenStream) -> usize {
        tokens
            .into_iter()
            .map(|token| match token {
                TokenTree::Group(group) => 2 + count(group.stream()),
                _ => 1,
            })
            .sum()
    }
    let model = |fields: &str| {
        let input = format!("struct Users {{ #[migrate(id)] id: Uuid, {fields} }}");
        let output = crate::migrate(input.parse().expect("the input is made of tokens"));
        count(output)
    };
    let empty = model("");
    let plain = model("name: String,") - empty;
    let reference = model("#[fk(Users)] boss: Option<Uuid>,") - empty;
    let text = format!(
        "model with its id: {empty}\neach plain field: {plain}\neach reference: {reference}"
    );
    assert_snapshot("tokens_per_field", &text);
}

snapshot!(
    embedded,
    migrate,
    r#"
    #[migrate(deny_unknown_fields, one_of(user, company))]
    struct Orders {
        #[migrate(id)]
        id: Uuid,
        #[migrate(path = "totals.gross")]
        gross: Decimal,
        #[migrate(flatten(prefix = "to_", present = "has_address"), rename = "shipTo")]
        address: Option<Address>,
        #[migrate(path = "owner.id", when("owner.kind" = "User"))]
        #[fk(Users)]
        user: Option<Uuid>,
        #[migrate(path = "owner.id", when("owner.kind" = "Company"))]
        #[fk(Companies)]
        company: Option<Uuid>,
    }
"#
);

snapshot!(
    embedded_struct,
    migrate,
    r#"
    #[migrate(embedded)]
    struct Address {
        zip: String,
        #[migrate(flatten)]
        geo: Geo,
    }
"#
);

/// A family of models that use every word. The tests of the workspace compile the same file and
/// move documents with it.
const EVERYTHING: &str = include_str!("everything.rs");

/// Each item of the family with what it expands to.
#[test]
fn everything() {
    let items = syn2::parse_file(EVERYTHING).expect("items").items;
    let shown: Vec<String> = items
        .iter()
        .map(|item| {
            let expand = match item {
                syn2::Item::Enum(_) => crate::pg_enum,
                _ => crate::migrate,
            };
            show(expand, &item.to_token_stream().to_string())
        })
        .collect();
    assert_snapshot("everything", &shown.join("\n"));
}

/// The attributes of the family, and what stands inside their parentheses.
#[test]
fn everything_uses_every_word() {
    for symbol in SYMBOLS {
        let (begin, end) = match symbol.place {
            Place::Fk => ("#[fk(", ")]"),
            Place::Junction => ("#[junction(", ")]"),
            Place::Child => ("#[child(", ")]"),
            Place::Flatten => ("flatten(", ")"),
            _ => ("#[migrate(", ")]"),
        };
        let used = EVERYTHING.split(begin).skip(1).any(|rest| {
            let list = rest.split(end).next().unwrap_or_default();
            list.split([',', '(', ' ', ')', '=']).any(|word| word == symbol.word)
        });
        assert!(used, "{:?} {}", symbol.place, symbol.word);
    }
}

/// The reference on the derives names every word where it says what the word means, and shows it in
/// an example that is run.
#[test]
fn every_word_is_documented() {
    let source = include_str!("../lib.rs");
    let docs: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("///")).collect();
    let (mut text, mut examples, mut in_example) = (String::new(), String::new(), false);
    for line in &docs {
        if line.trim_start().starts_with("```") {
            in_example = !in_example;
        }
        let place = if in_example { &mut examples } else { &mut text };
        place.push_str(line);
        place.push('\n');
    }
    for symbol in SYMBOLS {
        let word = symbol.word;
        let stands_alone = |found: &str| {
            let behind = found[word.len()..].chars().next();
            !behind.is_some_and(|behind| behind.is_alphanumeric() || behind == '_')
        };
        let count = |text: &str, before: &str| {
            let start = format!("{before}{word}");
            let found = text.match_indices(&start);
            found.filter(|(at, _)| stands_alone(&text[at + before.len()..])).count()
        };
        let inside = |place| matches!(place, Place::Fk | Place::Junction | Place::Child);
        let explained = match symbol.place {
            Place::Flatten => count(&text, "flatten(") + count(&text, " `"),
            place if inside(place) => count(&text, "  * `"),
            _ => count(&text, "* `#[migrate("),
        };
        // A word that stands at several places is explained at each.
        let alike = |other: Place| inside(other) == inside(symbol.place) && other != Place::Flatten;
        let places = SYMBOLS.iter().filter(|other| other.word == word && alike(other.place));
        let needed = if symbol.place == Place::Flatten { 1 } else { places.count() };
        assert!(explained >= needed, "{:?} `{word}` is not explained", symbol.place);
        let shown = count(&examples, "(") + count(&examples, ", ");
        assert!(shown > 0, "{:?} `{word}` is in no example", symbol.place);
    }
}
