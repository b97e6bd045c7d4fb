//! The report of a run as a page: well-formed, complete in itself, with the numbers of the state, and
//! pictures of it by a browser where the machine has one.

#![expect(clippy::print_stderr, reason = "a skipped test says why, a picture where it is")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use migrate_cli::generate::{Generator, Plan, to_dump};
use migrate_core::schema::{Registry, RegistryFacts};
use migrate_servers::Postgres;
use migrate_tests::hostile::Hostile;
use migrate_tests::servers;
use models::NextCrm;

const NEXTCRM: &str = env!("CARGO_BIN_EXE_nextcrm");
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile");

struct Loaded {
    folder: tempfile::TempDir,
    target: String,
    executable: &'static str,
}

impl Loaded {
    /// Loads generated documents with faults, as a person does.
    fn new(
        executable: &'static str,
        facts: &'static RegistryFacts,
        scale: f64,
        database: &str,
    ) -> Self {
        let server = servers::postgres(servers::NEWEST).expect("the newest version");
        let loaded = Self {
            folder: tempfile::tempdir().unwrap(),
            target: server.create_database(database).unwrap(),
            executable,
        };
        let plan = Plan { seed: 3, scale, dirty: 0.1 };
        to_dump(&Generator::new(facts, plan), &loaded.folder.path().join("dump"), false).unwrap();
        let run = loaded.migrate(&["run", "-q", "--source", "dump", "--chunk-bytes", "64KiB"]);
        assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
        loaded
    }

    fn migrate(&self, arguments: &[&str]) -> Output {
        Command::new(self.executable)
            .args(arguments)
            .args(["--target", &self.target])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn page(&self) -> (PathBuf, String) {
        let done = self.migrate(&["report"]);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let path = self.folder.path().join("migration-report.html");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let page = std::fs::read_to_string(&path).unwrap();
        (path, page)
    }
}

fn counts(server: &Postgres, database: &str, sql: &str) -> BTreeMap<String, u64> {
    let rows = server.query(database, sql).unwrap();
    rows.into_iter()
        .map(|row| {
            let count = row[1].as_deref().unwrap().parse().unwrap();
            (row[0].clone().unwrap(), count)
        })
        .collect()
}

/// The elements of a page are closed in the order in which they were opened, and every `<` begins
/// one.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 2] = ["meta", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let end =
            rest[at..].find('>').unwrap_or_else(|| panic!("no end: {:.80}", &rest[at..])) + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '!'), "<{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
        if name == "style" && !tag.starts_with('/') {
            rest = &rest[rest.find("</style>").expect("its end")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// Nothing is fetched and nothing runs.
fn assert_complete_in_itself(page: &str) {
    let lower = page.to_lowercase();
    for part in
        ["<script", "<link", "<iframe", "<img", "<object", "@import", "url(", "http://", "https://"]
    {
        assert!(!lower.contains(part), "{part}");
    }
    let tags = page.split('<').skip(1).filter_map(|tag| tag.split('>').next());
    for tag in tags.filter(|tag| !tag.starts_with("/style") && !tag.starts_with("style")) {
        // Texts of attributes are quoted, and what is in quotes cannot act.
        let bare: String = tag.split('"').step_by(2).collect();
        for word in ["src=", "href=", " on"] {
            assert!(!bare.contains(word), "<{tag}>");
        }
    }
    assert!(page.contains("default-src 'none'"));
}

/// The numbers of the rows of the table under that heading, by the name in the row.
fn numbers(page: &str, heading: &str) -> BTreeMap<String, Vec<u64>> {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let (table, _) = rest.split_once("</table>").unwrap();
    let mut rows = BTreeMap::new();
    for row in table.split("<tr").skip(2) {
        let mut cells = row.split("<td").skip(1).map(|cell| {
            let text = cell.split_once('>').map_or("", |(_, text)| text);
            let text: String = text
                .split('<')
                .enumerate()
                .map(|(at, part)| match at {
                    0 => part,
                    _ => part.split_once('>').map_or("", |(_, text)| text),
                })
                .collect();
            text.trim().to_owned()
        });
        let name = cells.next().unwrap_or_default();
        rows.insert(name, cells.filter_map(|cell| cell.replace(',', "").parse().ok()).collect());
    }
    rows
}

#[test]
fn a_page_has_the_numbers_of_the_state() {
    const DATABASE: &str = "report_numbers";
    let loaded = Loaded::new(NEXTCRM, NextCrm::FACTS, 0.5, DATABASE);
    let (path, page) = loaded.page();
    assert_well_formed(&page);
    assert_complete_in_itself(&page);

    let server = servers::postgres(servers::NEWEST).unwrap();
    let count = |sql: &str| counts(server, DATABASE, sql);
    let read = count("SELECT collection, sum(read) FROM migrate.chunk GROUP BY 1");
    let rejected = count("SELECT collection, count(*) FROM migrate.reject GROUP BY 1");
    let orphans =
        count("SELECT table_name, count(*) FROM migrate.orphan WHERE NOT element GROUP BY 1");
    let tables = numbers(&page, "<h2>Tables</h2>");
    assert_eq!(tables.len(), read.len() + 1, "a row each and the sum");
    let mut sums = [0; 4];
    for (table, read) in &read {
        let rows = count(&format!("SELECT 'rows', count(*) FROM \"{table}\""))["rows"];
        let rejected = rejected.get(table).copied().unwrap_or_default();
        let orphans = orphans.get(table).copied().unwrap_or_default();
        assert_eq!(tables[table][..4], [*read, rows, rejected, orphans], "{table}");
        for (sum, number) in sums.iter_mut().zip(&tables[table]) {
            *sum += number;
        }
    }
    assert_eq!(tables["all"][..4], sums);
    let reasons = count("SELECT reason, count(*) FROM migrate.reject GROUP BY 1");
    let found = numbers(&page, "<h2>Rejects by reason</h2>");
    assert!(reasons.len() > 4);
    assert_eq!(found.len(), reasons.len());
    for (reason, count) in &reasons {
        assert_eq!(found[reason][0], *count, "{reason}");
    }
    let junctions = numbers(&page, "<h3>Junction tables</h3>");
    assert_eq!(junctions.len(), 11);
    for (junction, found) in junctions.iter().filter(|(name, _)| *name != "all") {
        let rows = count(&format!("SELECT 'rows', count(*) FROM \"{junction}\""))["rows"];
        assert_eq!(found[1], rows, "{junction}");
        assert_eq!(found[0], found[1] + found[2] + found[3], "{junction}");
    }
    // The validation at the end of the run was found beside it.
    assert!(page.contains("Nothing differs"));
    assert!(page.contains("every sum holds, and every row compared with its source"));
    // Every table is in the graph.
    let graph = page.split_once("class=\"graph\"").unwrap().1;
    assert_eq!(graph.split_once("</svg>").unwrap().0.matches("<rect").count(), 39);
    let password = loaded.target.split([':', '@']).nth(2).unwrap();
    assert!(!page.contains(password));

    let pictures = [("light", 1), ("dark", 0)]
        .map(|(name, scheme)| picture(&path, &format!("report-{name}.png"), scheme));
    if let [Some(light), Some(dark)] = pictures {
        assert!(light.len() > 50_000 && dark.len() > 50_000, "an empty page");
        assert_ne!(light, dark, "dark looks like light");
    }
}

/// Opens a page in headless Chromium and gives a picture of it; `None`, with a printed reason, where
/// there is no Chromium. The picture stays in cargo's folder for test files.
fn picture(page: &Path, name: &str, scheme: u8) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let started = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg("--window-size=1120,7000")
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()))
        .output();
    match started {
        Ok(done) => {
            assert!(done.status.success(), "{done:?}");
            eprintln!("{} is a picture of the page", picture.display());
            Some(std::fs::read(&picture).expect("a picture"))
        }
        Err(error) => {
            eprintln!("skipped: no picture without Debian's `chromium`: {error}");
            None
        }
    }
}

#[test]
fn differences_are_on_the_page() {
    const DATABASE: &str = "report_differences";
    let loaded = Loaded::new(NEXTCRM, NextCrm::FACTS, 0.05, DATABASE);
    let server = servers::postgres(servers::NEWEST).unwrap();
    let plant = "UPDATE \"crm_Leads\" SET \"lastName\" = '<i>planted</i>' WHERE id = (SELECT min(id::text)::uuid FROM \"crm_Leads\")";
    server.query(DATABASE, plant).unwrap();
    server.query(DATABASE, "DROP INDEX \"Tasks_priority_idx\"").unwrap();
    let validate = loaded.migrate(&["validate", "-q", "--source", "dump"]);
    assert_eq!(validate.status.code(), Some(1), "{validate:?}");
    as_described(&loaded.folder.path().join("migration-validation-report.json"));

    // Causes first, then the worst; in colour only where it is asked for.
    let validate = ["validate", "--source", "dump", "--progress", "none"];
    let plain = loaded.migrate(&validate);
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.starts_with("schema: 1 difference\n  Tasks  expected "), "{plain}");
    assert!(plain.contains("\ncrm_Leads: 1 difference\n  differs  "), "{plain}");
    assert!(!plain.contains('\x1b'), "{plain}");
    for (variable, coloured) in [("CLICOLOR_FORCE", true), ("NO_COLOR", false)] {
        let done = Command::new(NEXTCRM)
            .args(validate)
            .args(["--target", &loaded.target])
            .current_dir(loaded.folder.path())
            .env(variable, "1")
            .output()
            .unwrap();
        assert_eq!(done.stdout.contains(&0x1b), coloured, "{variable}");
    }

    let (_, page) = loaded.page();
    assert_well_formed(&page);
    assert!(page.contains("the validation has found differences"));
    assert!(page.contains("&lt;i&gt;planted&lt;/i&gt;") && !page.contains("<i>"));
    let worst = numbers(&page, "<h3>Tables that differ</h3>");
    assert_eq!(worst["crm_Leads"], [0, 0, 1]);
    assert!(page.contains("Definitions that are not as the models say"));
    // Cells that follow from the definitions are counted there too, and not listed.
    let rename = "ALTER TYPE \"Language\" RENAME VALUE 'en' TO 'eng'";
    server.query(DATABASE, rename).unwrap();
    loaded.migrate(&["validate", "-q", "--source", "dump"]);
    let (_, page) = loaded.page();
    assert_well_formed(&page);
    assert!(page.contains("the target&#39;s enum Language lacks"), "{page}");
    assert!(
        !page.contains("Cells of <bdi>Users") && page.contains("Cells of <bdi>crm_Leads"),
        "{page}"
    );

    // A file that is not of this run is not taken for it.
    let file = loaded.folder.path().join("migration-validation-report.json");
    let other = std::fs::read_to_string(&file).unwrap().replacen("\"run\": 1", "\"run\": 2", 1);
    std::fs::write(&file, other).unwrap();
    let (_, page) = loaded.page();
    assert!(page.contains("No report of a validation of this run was at hand"));
    let named = loaded.migrate(&["report", "--validation", "migration-validation-report.json"]);
    assert_eq!(named.status.code(), Some(2), "{named:?}");
    assert!(
        String::from_utf8_lossy(&named.stderr).contains("is of run 2 of NextCrm, not of run 1")
    );
    let missing = loaded.migrate(&["report", "--validation", "nothing.json"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn hostile_names_are_names() {
    let loaded = Loaded::new(HOSTILE, Hostile::FACTS, 0.5, "report_hostile");
    let (path, page) = loaded.page();
    assert_well_formed(&page);
    assert_complete_in_itself(&page);
    assert!(page.contains("&lt;script&gt;alert(&#39;table&#39;)&lt;/script&gt;"));
    assert!(!page.contains('\u{202e}'), "nothing turns what follows");
    assert!(page.contains("a_table_whose_name_is_as_long_as_a_name_of_postgresql_can_be_63"));
    picture(&path, "report-hostile.png", 1);
    let plan = Command::new(HOSTILE).args(["plan", "--format", "svg"]).output().unwrap();
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert_well_formed(&plan);
    assert!(!plan.contains("<script") && plan.contains("xmlns=\"http://www.w3.org/2000/svg\""));
}

/// A report has mode 0600 and no key that its page does not describe; and the page describes none
/// that no report can have.
fn as_described(file: &Path) {
    use migrate_core::validate::{Repaired, Report, Sample};
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let page = include_str!("../../docs/validation-report.md");
    let described: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    let text = std::fs::read_to_string(file).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["version"], Report::VERSION);
    assert!(page.contains(&format!("version {}", Report::VERSION)));
    let undescribed =
        |keys: &BTreeSet<String>| -> Vec<String> { keys.difference(&described).cloned().collect() };
    assert_eq!(undescribed(&keys(&found)), Vec::<String>::new());
    // What is read back is what was written.
    let report: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&report).unwrap(), found);

    let mut full = Report {
        tables: vec![Default::default()],
        junctions: vec![Default::default()],
        references: vec![Default::default()],
        repaired: Some(Repaired {
            tables: vec![Default::default()],
            failed: Some(String::new()),
            ..Repaired::default()
        }),
        ..report
    };
    full.scope.sample = Some(Sample { rows: 1, seed: 1 });
    let row =
        migrate_core::validate::RowDifference { key: String::new(), source_id: String::new() };
    full.tables[0].missing.first.push(row.clone());
    full.tables[0].extra.first.push(row);
    full.tables[0].cells.first.push(migrate_core::validate::CellDifference {
        key: String::new(),
        source_id: String::new(),
        column: String::new(),
        source: None,
        target: None,
    });
    full.tables[0].columns.push(migrate_core::validate::ColumnDifferences {
        column: String::new(),
        count: 0,
        cause: None,
        unnoted: 0,
    });
    full.references[0]
        .orphans
        .first
        .push(migrate_core::validate::OrphanReference { key: String::new(), value: String::new() });
    full.tables[0].judged.first.push(migrate_core::validate::Judged {
        key: String::new(),
        source_id: String::new(),
        loaded: true,
        field: String::new(),
        reason: String::new(),
    });
    full.tables[0]
        .not_independent
        .push(migrate_core::validate::Unchecked { column: String::new(), why: String::new() });
    assert!(!full.structure.is_empty());
    assert_eq!(keys(&serde_json::to_value(&full).unwrap()), described);
}

/// The paths of all keys, as the pages that describe a format write them.
fn keys(value: &serde_json::Value) -> BTreeSet<String> {
    fn walk(path: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, found);
                    found.insert(path);
                }
            }
            serde_json::Value::Array(items) => {
                items.iter().for_each(|item| walk(&format!("{path}[]"), item, found));
            }
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk("", value, &mut found);
    found
}
