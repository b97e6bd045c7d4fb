/// An order of a shop: every word that a model of a collection may use.
#[derive(Migrate)]
#[migrate(collection = "orders", table = "orders", schema = "shop")]
#[migrate(rename_all = "camelCase", column_case = "snake_case")]
#[migrate(when(kind = ["order", null], "meta.draft" = false), filter = is_real)]
#[migrate(primary_key(branch, number), unique(branch, invoice), index(ordered, state))]
#[migrate(check = "gross >= 0", check(orders_net = "net <= gross"))]
#[migrate(one_of(by_user, by_company))]
struct Orders {
    #[migrate(id)]
    id: Uuid,
    #[migrate(rename = "shop", alias = "store", empty_as_null, default = "main", pg_type = "varchar(20)")]
    branch: String,
    #[migrate(trim, lenient)]
    number: i64,
    #[migrate(column = "invoice_no", nul = strip)]
    invoice: Option<String>,
    #[migrate(id_time, db_default = "now()")]
    ordered: NaiveDateTime,
    #[migrate(map(O = "open", D = "done", "?" = null), default, index)]
    state: State,
    #[migrate(with = euros, default = 0.into(), on_invalid = default)]
    gross: Decimal,
    #[migrate(path = "totals.net", truncate, pg_type = "numeric(12, 2)")]
    net: Option<Decimal>,
    #[migrate(split = ",", trim, unique)]
    codes: Option<Vec<String>>,
    #[migrate(path = "customer.id", when("customer.kind" = "user"))]
    #[fk(Users, on_delete = restrict)]
    by_user: Option<Uuid>,
    #[migrate(path = "customer.id", when("customer.kind" = "company"))]
    #[fk(Companies, key = "code", orphan = reject)]
    by_company: Option<String>,
    #[fk(Self, on_delete = set_null, orphan = null)]
    replaces: Option<Uuid>,
    #[migrate(rename = "shipTo", flatten(prefix = "ship_", present = "has_ship_to"))]
    shipping: Option<Address>,
    #[child(Lines, on_reject = document)]
    lines: Vec<Lines>,
    #[child(Notes)]
    #[migrate(path = "meta.notes")]
    notes: HashMap<String, Notes>,
    #[junction(OrdersToUsers, owner = order, position)]
    watchers: Vec<Uuid>,
    #[migrate(compute = size)]
    bytes: i64,
    #[migrate(json = "extended")]
    raw: Option<Json>,
    #[migrate(skip)]
    cache: Option<String>,
    #[migrate(extra)]
    rest: Option<Json>,
}

/// What the address is, and its own table of visits.
#[derive(Migrate)]
#[migrate(embedded, index(zip))]
struct Address {
    street: String,
    #[migrate(rename = "zipCode")]
    zip: Option<String>,
    #[child(Visits)]
    visits: Vec<Visits>,
}

/// The elements of an array: a key of the parent and the place.
#[derive(Migrate)]
#[migrate(child, table = "order_lines", schema = "shop", primary_key(order, place))]
struct Lines {
    #[migrate(id, rename = "lineId")]
    id: i32,
    #[migrate(parent)]
    #[fk(Orders, on_delete = cascade)]
    order: Uuid,
    #[migrate(position)]
    place: i16,
    #[migrate(json)]
    article: Json,
}

/// The entries of a map.
#[derive(Migrate)]
#[migrate(child, table = "order_notes")]
struct Notes {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    #[migrate(key)]
    topic: String,
    #[migrate(value)]
    text: Option<String>,
}

/// Scalars of an array in an embedded document.
#[derive(Migrate)]
#[migrate(child, table = "order_visits")]
struct Visits {
    #[migrate(id)]
    id: Uuid,
    #[migrate(parent)]
    #[fk(Orders)]
    order: Uuid,
    #[migrate(value, lenient("%d.%m.%Y"))]
    day: NaiveDate,
}

/// Pairs in the order of the array.
#[derive(Migrate)]
#[migrate(junction, table = "order_watchers")]
struct OrdersToUsers {
    #[fk(Orders)]
    #[migrate(column = "order_id")]
    order: Uuid,
    #[fk(Users)]
    #[migrate(column = "user_id", index)]
    user: Uuid,
    #[migrate(position)]
    place: i32,
}

/// Two models that refer to each other; a field that nothing takes is refused.
#[derive(Migrate)]
#[migrate(collection = "users", table = "users", deny_unknown_fields)]
struct Users {
    #[migrate(id)]
    id: Uuid,
    #[fk(Companies, deferred)]
    company: Option<Uuid>,
}

#[derive(Migrate)]
#[migrate(collection = ["companies", "firms"], table = "companies")]
struct Companies {
    #[migrate(id)]
    id: Uuid,
    #[migrate(origin)]
    source: String,
    #[migrate(unique)]
    code: String,
    #[fk(Users)]
    owner: Option<Uuid>,
}

#[derive(Default, PgEnum)]
#[migrate(name = "order_state", schema = "shop", rename_all = "lowercase")]
enum State {
    #[default]
    Open,
    Done,
    #[migrate(rename = "not known", other)]
    Unknown,
}
