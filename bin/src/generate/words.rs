//! What people, places and companies are called in generated documents. Part of it is not ASCII,
//! because real names are not.

pub(super) const FIRST_NAMES: &[&str] = &[
    "Anna", "Jan", "Petr", "Jana", "Eva", "Tomáš", "Lucie", "Ondřej", "Hans", "Grete", "Jürgen",
    "Sofía", "José", "Marie", "Luc", "Élodie", "Olena", "Taras", "John", "Mary", "Ada", "Grace",
    "Alan", "Yuki", "Haruto", "Wei", "Amara", "Kofi", "Zoë", "Søren",
];

pub(super) const LAST_NAMES: &[&str] = &[
    "Novák",
    "Dvořák",
    "Svoboda",
    "Černá",
    "Müller",
    "Schmidt",
    "Weiß",
    "Fischer",
    "García",
    "Muñoz",
    "Dubois",
    "Lefèvre",
    "Kovalenko",
    "Shevchenko",
    "Smith",
    "Jones",
    "O'Neill",
    "Brown",
    "Tanaka",
    "Sato",
    "Chen",
    "Okafor",
    "Mensah",
    "Jensen",
    "Åberg",
    "Kowalski",
    "Łukasz",
    "Rossi",
];

pub(super) const COMPANIES: &[&str] = &[
    "Alfa Stavby",
    "Bohemia Glass",
    "Cedar Works",
    "Delta Freight",
    "Elbe Logistics",
    "Fjord Data",
    "Glühwerk",
    "Harbour Mills",
    "Iris Optik",
    "Jupiter Foods",
    "Kolo & Syn",
    "Lumen Energie",
    "Moravia Steel",
    "Nordlicht",
    "Orchard Bank",
    "Pragotherm",
    "Quarry Stone",
    "Rhein Papier",
    "Sázava Papír",
    "Tatra Wood",
];

pub(super) const LEGAL_FORMS: &[&str] = &["s.r.o.", "a.s.", "GmbH", "AG", "Ltd.", "Inc.", "S.A."];

pub(super) const CITIES: &[&str] = &[
    "Praha",
    "Brno",
    "Plzeň",
    "Ústí nad Labem",
    "Berlin",
    "München",
    "Köln",
    "Wien",
    "Zürich",
    "Lyon",
    "Málaga",
    "Київ",
    "Львів",
    "London",
    "Dublin",
    "Boston",
    "Kyōto",
    "Accra",
    "Oslo",
];

pub(super) const STREETS: &[&str] = &[
    "Nádražní",
    "Husova",
    "Na Příkopě",
    "Hauptstraße",
    "Lindenallee",
    "Rue de la Paix",
    "Calle Mayor",
    "High Street",
    "Station Road",
    "Mill Lane",
    "Хрещатик",
    "Storgata",
];

pub(super) const STATES: &[&str] =
    &["Bohemia", "Moravia", "Bayern", "Hessen", "Tirol", "Bretagne", "Leinster", "Ohio"];

pub(super) const COUNTRIES: &[(&str, &str)] = &[
    ("Czechia", "CZ"),
    ("Germany", "DE"),
    ("Austria", "AT"),
    ("France", "FR"),
    ("Spain", "ES"),
    ("Ukraine", "UA"),
    ("Ireland", "IE"),
    ("Norway", "NO"),
    ("Ghana", "GH"),
    ("Japan", "JP"),
];

pub(super) const JOBS: &[&str] = &[
    "Accountant",
    "Buyer",
    "CEO",
    "CTO",
    "Developer",
    "Engineer",
    "Office manager",
    "Sales",
    "Team lead",
];

pub(super) const SUBJECTS: &[&str] = &[
    "contract",
    "delivery",
    "invoice",
    "meeting",
    "offer",
    "order",
    "phone call",
    "price list",
    "project",
    "report",
    "service",
    "visit",
    "warranty",
    "website",
];

pub(super) const VERBS: &[&str] = &[
    "Answer", "Approve", "Check", "Discuss", "Finish", "Prepare", "Review", "Send", "Sign",
    "Update",
];

pub(super) const SENTENCES: &[&str] = &[
    "The customer asks for a call next week.",
    "Price agreed, waiting for the signature.",
    "Sent by mail; no answer yet.",
    "Zákazník si přeje dodání do konce měsíce.",
    "Bitte Rückruf – dringend!",
    "See the attached file: \"offer_v2.pdf\".",
    "Tabs\tand\nlines survive, and so does a \\ backslash.",
    "Потрібно уточнити адресу доставки.",
    "All good 👍",
    "Third reminder, 50 % paid.",
];

pub(super) const TAGS: &[&str] =
    &["vip", "new", "partner", "newsletter", "to call", "žádost", "2024", "late", "B2B", "event"];

pub(super) const LABELS: &[&str] = &[
    "Agriculture",
    "Banking",
    "Chemicals",
    "Construction",
    "Education",
    "Energy",
    "Healthcare",
    "Hospitality",
    "IT",
    "Logistics",
    "Media",
    "Retail",
    "Telecommunications",
    "Tourism",
];
