//! Columns that line up and fit the page. Pure.

use super::text::{Page, Tone, cut};

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

/// A cell in `tone`.
pub(super) fn cell(text: impl Into<String>, tone: Tone) -> Cell {
    Cell { text: text.into(), tone }
}

/// Between two columns.
const GAP: usize = 2;
/// What no column is cut below.
const NARROWEST: usize = 6;

/// Lays out `rows` under `titles`. Where they do not fit, the columns listed in `flexible` are cut, the widest first.
pub(super) fn lay_out(titles: &[&str], rows: &[Vec<Cell>], flexible: &[usize], page: Page) -> Vec<String> {
    let mut widths: Vec<usize> = titles.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    while total(&widths) > page.width {
        let widest = flexible.iter().copied().max_by_key(|column| widths[*column]);
        match widest {
            Some(column) if widths[column] > NARROWEST => widths[column] -= 1,
            // Nothing left to give: a line that is too long is better than one that says nothing.
            _ => break,
        }
    }
    let heading: Vec<Cell> = titles.iter().map(|title| cell(*title, Tone::Bold)).collect();
    std::iter::once(&heading).chain(rows).map(|row| line(row, &widths, page)).collect()
}

fn line(row: &[Cell], widths: &[usize], page: Page) -> String {
    let mut line = String::new();
    let mut owed = 0;
    for (cell, width) in row.iter().zip(widths) {
        let text = cut(&cell.text, *width);
        line.push_str(&" ".repeat(owed));
        line.push_str(&page.paint(&text, cell.tone));
        owed = width - text.chars().count() + GAP;
    }
    line
}
