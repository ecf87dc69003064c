//! Mistakes in a node.toml: where, what, the line itself with a caret below the place, and what to write instead. Pure.

use super::text::{Page, Tone, wrap};
use node::config::{Mistake, Source};

/// Before a line of the file and before a hint.
const INDENT: usize = 4;

/// Each as `file:line:column: message`, which other programs read too, then the line of the file where its text is known,
/// then the hint.
pub fn render(mistakes: &[Mistake], sources: &[Source], page: Page) -> String {
    mistakes.iter().fold(String::new(), |text, mistake| text + &one(mistake, sources, page))
}

fn one(mistake: &Mistake, sources: &[Source], page: Page) -> String {
    // In its own words it is one line, without anything that could steer a terminal.
    let unhinted = Mistake { hint: None, ..mistake.clone() }.to_string();
    let place = format!("{}:{}:{}:", mistake.file, mistake.line, mistake.column);
    let message = unhinted.strip_prefix(&place).unwrap_or_default();
    let mut text = format!("{}{message}\n", page.paint(&place, Tone::Bold));
    if let Some(source) = sources.iter().find(|source| source.name == mistake.file) {
        let excerpt = mistake.excerpt_within(&source.text, page.width.saturating_sub(INDENT));
        if let Some((line, caret)) = excerpt.split_once('\n') {
            let before = caret.trim_end_matches('^');
            let caret = page.paint("^", Tone::Bad);
            text.push_str(&format!("{:INDENT$}{line}\n{:INDENT$}{before}{caret}\n", "", ""));
        }
    }
    if let Some(hint) = &mistake.hint {
        text.push_str(&wrap(&format!("hint: {hint}"), INDENT, page.width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Page = Page { width: 80, colour: false };

    fn mistake(line: usize, column: usize) -> Mistake {
        Mistake {
            file: "node.d/10.toml".to_owned(),
            line,
            column,
            message: "unknown key `imagee`".to_owned(),
            hint: Some("did you mean `image`?".to_owned()),
        }
    }

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn the_line_is_that_of_the_right_file_with_a_caret_below_the_place() {
        let sources =
            [source("node.toml", "a\nb\n"), source("node.d/10.toml", "[services.api]\nimagee = 1\n")];
        let text = render(&[mistake(2, 1)], &sources, PLAIN);
        let wanted = "node.d/10.toml:2:1: unknown key `imagee`\n    2 | imagee = 1\n      | ^\n    hint: did you mean `image`?\n";
        assert_eq!(text, wanted);
        assert_eq!(
            render(&[mistake(2, 1)], &sources[..1], PLAIN).lines().count(),
            2,
            "the text is not known"
        );
    }

    #[test]
    fn a_long_line_and_a_long_hint_fit_on_the_page() {
        let text = format!("x = \"{}\"\n", "y".repeat(500));
        let mut mistake = mistake(1, 300);
        mistake.hint = Some("word ".repeat(50));
        let shown = render(&[mistake], &[source("node.d/10.toml", &text)], PLAIN);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(shown.lines().count() > 4, "{shown}");
    }

    #[test]
    fn colours_are_for_those_who_see_them_and_no_value_can_steer_the_terminal() {
        let mut mistake = mistake(1, 1);
        mistake.message = "\"\u{1b}[2J\nforged:1:1: x\"".to_owned();
        let sources = [source("node.d/10.toml", "x\u{1b}[2J\n")];
        let plain = render(&[mistake.clone()], &sources, PLAIN);
        assert!(!plain.contains('\u{1b}') && plain.lines().count() == 4, "{plain:?}");
        let coloured = render(&[mistake], &sources, Page { width: 80, colour: true });
        assert!(coloured.contains("\u{1b}[31m^\u{1b}[0m") && !coloured.contains("[2J\u{1b}"), "{coloured:?}");
    }
}
