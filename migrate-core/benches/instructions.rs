//! A fixed number of documents through the transformer, for a program that counts instructions:
//! `instructions CASE`; `instructions --names` tells the cases. The counts are recorded in
//! `instructions.toml`, and `tests/tests/instructions.rs` runs this under callgrind and compares.
//!
//! What is counted is [`counted_pass`] alone, which callgrind is told by its name: documents and
//! transformer are made before, and buffers have grown in a pass that is not counted.

mod cases;
mod contacts;

use migrate_core::transform::{Output, Scratch, Transformer};

fn main() {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` gives an argument of its own.
    match arguments.next().filter(|name| name != "--bench") {
        Some(name) if name == "--names" => print_names(),
        Some(name) => run(&name),
        None => cases::names().for_each(run),
    }
}

#[expect(clippy::print_stdout, reason = "a program's answer")]
fn print_names() {
    cases::names().for_each(|name| println!("{name}"));
}

fn run(name: &str) {
    let case = cases::of(name).unwrap_or_else(|| panic!("`{name}` is no case"));
    let transformer = case.transformer();
    let mut scratch = transformer.scratch();
    let mut out = Output::default();
    pass(&transformer, &mut scratch, &case.documents, &mut out);
    counted_pass(&transformer, &mut scratch, &case.documents, &mut out);
    assert_eq!(out.row_count(), case.documents.len(), "`{name}` has a reject");
}

#[inline(never)]
fn counted_pass(
    transformer: &Transformer,
    scratch: &mut Scratch,
    documents: &[Vec<u8>],
    out: &mut Output,
) {
    pass(transformer, scratch, documents, out);
}

fn pass(transformer: &Transformer, scratch: &mut Scratch, documents: &[Vec<u8>], out: &mut Output) {
    out.clear();
    for document in documents {
        transformer.transform(scratch, document, out);
    }
}
