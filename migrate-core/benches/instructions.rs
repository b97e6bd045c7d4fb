//! A fixed number of documents through the transformer, for a program that counts instructions:
//! `instructions CASE PASSES`; `instructions --names` tells the cases. The counts are recorded in
//! `instructions.toml`, and `tests/tests/instructions.rs` runs this under callgrind and compares.
//!
//! Documents and transformer are made before the first pass, so the difference between two runs
//! with different numbers of passes is what the passes cost.

mod cases;
mod contacts;

use migrate_core::transform::Output;

fn main() {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` gives an argument of its own.
    let name = arguments.next().filter(|name| name != "--bench");
    let passes = arguments.next().and_then(|passes| passes.parse().ok()).unwrap_or(1);
    match name {
        Some(name) if name == "--names" => print_names(),
        Some(name) => run(&name, passes),
        None => cases::names().for_each(|name| run(name, passes)),
    }
}

#[expect(clippy::print_stdout, reason = "a program's answer")]
fn print_names() {
    cases::names().for_each(|name| println!("{name}"));
}

fn run(name: &str, passes: u32) {
    let case = cases::of(name).unwrap_or_else(|| panic!("`{name}` is no case"));
    let transformer = case.transformer();
    let mut scratch = transformer.scratch();
    let mut out = Output::default();
    // One more pass than was asked for: in the first one buffers grow.
    for _ in 0..=passes {
        out.clear();
        for document in &case.documents {
            transformer.transform(&mut scratch, document, &mut out);
        }
        assert_eq!(out.row_count(), case.documents.len(), "`{name}` has a reject");
    }
}
