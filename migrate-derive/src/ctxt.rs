//! The collected errors: every mistake of a struct is reported in one compile.

use std::cell::RefCell;
use std::fmt::Display;
use std::thread;

use proc_macro2::Span;

/// Collects errors; must be asked for them with [`finish`](Self::finish) before it is dropped.
pub(crate) struct Ctxt {
    /// `None` when finished.
    errors: RefCell<Option<Vec<syn::Error>>>,
}

impl Ctxt {
    pub(crate) fn new() -> Self {
        Self { errors: RefCell::new(Some(Vec::new())) }
    }

    /// Adds an error at `span`: what is wrong, and how to mend it.
    pub(crate) fn error(&self, span: Span, message: impl Display, help: impl Display) {
        self.syn_error(syn::Error::new(span, format!("{message}\nhelp: {help}")));
    }

    /// Adds an error that a parser has made.
    pub(crate) fn syn_error(&self, error: syn::Error) {
        self.errors.borrow_mut().as_mut().expect("no error comes after `finish`").push(error);
    }

    /// The errors in the order they were found, as one.
    pub(crate) fn finish(self) -> syn::Result<()> {
        let errors = self.errors.borrow_mut().take().expect("`finish` takes the collector");
        match errors.into_iter().reduce(|mut all, error| {
            all.combine(error);
            all
        }) {
            Some(all) => Err(all),
            None => Ok(()),
        }
    }
}

impl Drop for Ctxt {
    fn drop(&mut self) {
        if !thread::panicking() && self.errors.borrow().is_some() {
            panic!("the errors were collected and nobody asked for them");
        }
    }
}
