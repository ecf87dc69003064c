//! A page in the language of man, put together from headings, paragraphs and lists. What is special in that language is
//! escaped on the way.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Which book it is of, in its last line.
pub(crate) const SOURCE: &str = concat!("node-agent ", env!("CARGO_PKG_VERSION"));

/// What is written so far.
#[derive(Default)]
pub(crate) struct Page {
    roff: Roff,
}

impl Page {
    /// The head of a page.
    pub(crate) fn new(title: &str, section: &str) -> Page {
        let mut page = Page::default();
        // No date: the same sources give the same bytes.
        page.roff.control("TH", [title, section, "", SOURCE, ""]);
        page
    }

    /// A heading, in capitals.
    pub(crate) fn heading(&mut self, text: &str) -> &mut Page {
        self.roff.control("SH", [text]);
        self
    }

    /// A heading below one.
    pub(crate) fn smaller_heading(&mut self, text: &str) -> &mut Page {
        self.roff.control("SS", [text]);
        self
    }

    /// A paragraph. What stands in backticks is set bold.
    pub(crate) fn paragraph(&mut self, text: &str) -> &mut Page {
        self.roff.control("PP", []);
        self.roff.text(marked(text));
        self
    }

    /// A term and what it is.
    pub(crate) fn entry(&mut self, term: Vec<Inline>, text: &str) -> &mut Page {
        self.roff.control("TP", []);
        self.roff.text(term);
        self.roff.text(marked(text));
        self
    }

    /// A term below one.
    pub(crate) fn nested(&mut self, write: impl FnOnce(&mut Page)) -> &mut Page {
        self.roff.control("RS", []);
        write(self);
        self.roff.control("RE", []);
        self
    }

    /// Lines as they are typed.
    pub(crate) fn lines(&mut self, lines: &[&str]) -> &mut Page {
        self.roff.control("PP", []);
        self.roff.control("RS", ["4"]);
        self.roff.control("EX", []);
        for line in lines {
            self.roff.text([roman(*line)]);
        }
        self.roff.control("EE", []);
        self.roff.control("RE", []);
        self
    }

    /// The text.
    pub(crate) fn render(&self) -> String {
        self.roff.render()
    }
}

/// The text with every character that is not of ASCII as an escape: not every reader of pages takes them for UTF-8.
pub(crate) fn portable(text: &str) -> Vec<u8> {
    let mut portable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            portable.push(character);
        } else {
            portable.push_str(&format!("\\[u{:04X}]", u32::from(character)));
        }
    }
    portable.into_bytes()
}

/// Text with what stands in backticks set bold, on one line: line breaks in descriptions mean nothing.
fn marked(text: &str) -> Vec<Inline> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts = text.split('`').enumerate();
    let inlines = parts.filter(|(_, part)| !part.is_empty());
    inlines.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}
