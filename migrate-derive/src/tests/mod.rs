//! Expansions, with input and output in one snapshot: one per feature, so that a reviewer reads
//! what is written and what comes of it.

use proc_macro2::{TokenStream, TokenTree};

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
