//! Rows of the table and the numbers in them.

#![expect(clippy::cast_precision_loss, reason = "milliseconds and bytes of this host are far below 2^53")]

/// One line of the table.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) bar: String,
    pub(super) ours: String,
    /// What a user would pick instead, with its name.
    pub(super) instead: String,
    /// The other way's number divided by ours; absent where the two do not compare.
    pub(super) ratio: Option<f64>,
}

impl Row {
    /// A row with nothing beside it.
    pub(super) fn alone(what: &str, bar: &str, ours: String) -> Row {
        Row { what: what.to_owned(), bar: bar.to_owned(), ours, instead: "-".to_owned(), ratio: None }
    }
}

/// Measurements of one thing, milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn of(mut milliseconds: Vec<f64>) -> Samples {
        milliseconds.sort_by(f64::total_cmp);
        Samples(milliseconds)
    }

    pub(super) fn add(&mut self, milliseconds: f64) {
        let place = self.0.partition_point(|other| *other <= milliseconds);
        self.0.insert(place, milliseconds);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            length if length % 2 == 0 => f64::midpoint(self.0[middle - 1], self.0[middle]),
            _ => self.0[middle],
        }
    }

    pub(super) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// `median / max ms`
    pub(super) fn text(&self) -> String {
        format!("{:.1} / {:.1} ms", self.median(), self.max())
    }
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[expect(clippy::print_stdout, reason = "the table")]
pub(super) fn print(rows: &[Row]) {
    let head = ["what", "bar", "ours", "instead"].map(str::to_owned);
    let cells = |row: &Row| [&row.what, &row.bar, &row.ours, &row.instead].map(String::clone);
    let lines: Vec<([String; 4], String)> = std::iter::once((head, "instead / ours".to_owned()))
        .chain(rows.iter().map(|row| {
            (cells(row), row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1} x")))
        }))
        .collect();
    let width = |column: usize| {
        lines.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2), width(3)];
    println!();
    for (cells, ratio) in &lines {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        println!("| {} | {ratio} |", padded.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((Samples::of(vec![4.0, 1.0, 3.0, 2.0]).median() - 2.5).abs() < f64::EPSILON);
        assert!((Samples::of(vec![3.0, 1.0, 2.0]).median() - 2.0).abs() < f64::EPSILON);
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn what_is_added_takes_its_place() {
        let mut samples = Samples::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|sample| samples.add(sample));
        assert_eq!((samples.min(), samples.median(), samples.max()), (1.0, 2.0, 3.0));
    }
}
