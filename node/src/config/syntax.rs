//! Text of one source -> [`Node`]. A syntax error does not hide what comes after it: the statement that holds it is
//! blanked out, byte for byte so that positions stay true, and the rest is parsed again.
//!
//! Not its job: what the keys mean.

use super::findings::{Findings, Span, Wrong, position};
use super::tree::{Entry, Node, Value};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeInteger, DeTable, DeValue, Error};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// More than this is not read by a person either, and each costs one more parse.
const SYNTAX_ERRORS_AT_MOST: usize = 50;

/// User data holds 16 KiB; far above it something else than a configuration was given.
const BYTES_AT_MOST: usize = 1024 * 1024;

/// Dots in one key. The deepest key of ours has five; the parser takes any number and would exhaust the stack.
const KEY_DOTS_AT_MOST: usize = 16;

/// Parses the text of source number `source`. Always gives a table, of all that can be read.
pub(super) fn parse(source: usize, text: &str, findings: &mut Findings) -> Node {
    let whole = Span { source, start: 0, end: 0 };
    if let Err((at, wrong)) = refuse_extremes(text) {
        findings.add_syntax(Span { source, ..at }, wrong);
        return Node { at: whole, value: Value::Table(BTreeMap::new()) };
    }
    let mut readable = text.to_owned();
    for _ in 0..SYNTAX_ERRORS_AT_MOST {
        match DeTable::parse(&readable) {
            Ok(table) => return Node { at: whole, value: table_value(source, table.into_inner(), findings) },
            Err(error) => {
                let at = error.span().unwrap_or(0..0);
                let statement = Statement::around(&readable, &error, at.start);
                let span = Span { source, start: at.start, end: at.end };
                findings.add_syntax(span, describe(&readable, &error, &statement));
                if statement.unclosed.is_some() {
                    findings.distrust(Span {
                        source,
                        start: statement.bytes.start,
                        end: statement.end_of_table,
                    });
                }
                if !blank(&mut readable, statement.bytes) {
                    break;
                }
            }
        }
    }
    Node { at: whole, value: Value::Table(BTreeMap::new()) }
}

fn refuse_extremes(text: &str) -> Result<(), (Span, Wrong)> {
    let at = |start| Span { source: 0, start, end: start };
    if text.len() > BYTES_AT_MOST {
        let wrong =
            Wrong::new(format!("the file has {} bytes; at most {BYTES_AT_MOST} are read", text.len()));
        return Err((at(0), wrong));
    }
    let mut dots = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot => dots += 1,
            TokenKind::Atom
            | TokenKind::Whitespace
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString => {}
            _ => dots = 0,
        }
        if dots > KEY_DOTS_AT_MOST {
            let wrong = Wrong::new(format!("a key with more than {KEY_DOTS_AT_MOST} dots"));
            return Err((at(token.span().start()), wrong));
        }
    }
    Ok(())
}

fn describe(text: &str, error: &Error, statement: &Statement) -> Wrong {
    let at = error.span().unwrap_or(0..0);
    let message = match error.message() {
        "duplicate key" => format!("`{}` is written twice", text.get(at).unwrap_or_default()),
        // The parser's words for `key =` and nothing behind it.
        quoted if quoted.starts_with("string values must be quoted") && at.is_empty() => {
            "a value is missing after `=`".to_owned()
        }
        other => format!("not TOML: {other}"),
    };
    let hint = statement.unclosed.map(|line| format!("what begins in line {line} may not be closed"));
    Wrong::new(message).hint_if_any(hint)
}

/// The lines to leave out because of one error.
struct Statement {
    bytes: Range<usize>,
    /// The line, from 1, of an earlier statement that ran on into the one where the error was noticed.
    unclosed: Option<usize>,
    /// Where the next table begins.
    end_of_table: usize,
}

impl Statement {
    fn around(text: &str, error: &Error, offset: usize) -> Statement {
        let lines = lines(text);
        let noticed = position(text, offset).0 - 1;
        let line = |index: usize| lines.get(index).map_or("", |range| &text[range.clone()]);
        let start_of = |index: usize| lines.get(index).map_or(text.len(), |range| range.start);
        let begin_before = |index: usize| (0..index).rev().find(|&index| begins(line(index)));
        let runs_on = |first: &usize| DeTable::parse(&text[start_of(*first)..start_of(noticed)]).is_err();
        // A good statement that is refused at its first character is the victim of the one before it.
        let before = text.get(start_of(noticed).min(offset)..offset);
        let at_begin = before.is_some_and(|before| before.trim().is_empty()) && begins(line(noticed));
        let culprit = begin_before(noticed).filter(runs_on);
        let victim = culprit.filter(|_| at_begin && error.message() != "duplicate key");
        let continued = culprit.filter(|_| !begins(line(noticed)));
        let first = victim.or(continued).unwrap_or(noticed);
        let after = if victim.is_some() { first + 1 } else { noticed + 1 };
        let next = |stop: fn(&str) -> bool| (after..lines.len()).find(|&index| stop(line(index)));
        let end_of_table = start_of(next(is_header).unwrap_or(lines.len()));
        let end =
            if is_header(line(first)) { end_of_table } else { start_of(next(begins).unwrap_or(lines.len())) };
        let never_ends = error.message().starts_with("unclosed") || error.message().contains("multi-line");
        let unclosed = victim.or(continued.filter(|_| never_ends)).map(|index| index + 1);
        Statement { bytes: start_of(first)..end, unclosed, end_of_table }
    }
}

fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end;
            range
        })
        .collect()
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Looks like the first line of `key = value` or `[table]`.
fn begins(line: &str) -> bool {
    let key = |text: &str| {
        let text = text.trim();
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || " _-.\"'".contains(c))
    };
    is_header(line) || line.split_once('=').is_some_and(|(before, _)| key(before))
}

/// Overwrites whole lines with spaces. False if there was nothing left to overwrite.
fn blank(text: &mut String, bytes: Range<usize>) -> bool {
    let Some(part) = text.get(bytes.clone()) else { return false };
    if part.trim().is_empty() {
        return false;
    }
    let spaces: String = part.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(bytes, &spaces);
    true
}

fn table_value(source: usize, table: DeTable<'_>, findings: &mut Findings) -> Value {
    let span = |range: Range<usize>| Span { source, start: range.start, end: range.end };
    let entries = table.into_iter().map(|(key, value)| {
        let at = span(value.span());
        let value = plain_value(at, value.into_inner(), findings);
        (key.get_ref().clone().into_owned(), Entry { key_at: span(key.span()), node: Node { at, value } })
    });
    Value::Table(entries.collect())
}

fn plain_value(at: Span, value: DeValue<'_>, findings: &mut Findings) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(number) => integer(at, &number, findings),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            _ => unusable(at, format!("`{number}` is not a finite number"), findings),
        },
        DeValue::Boolean(truth) => Value::Boolean(truth),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| {
                    let range = item.span();
                    let at = Span { source: at.source, start: range.start, end: range.end };
                    Node { at, value: plain_value(at, item.into_inner(), findings) }
                })
                .collect(),
        ),
        DeValue::Table(table) => table_value(at.source, table, findings),
    }
}

fn integer(at: Span, number: &DeInteger<'_>, findings: &mut Findings) -> Value {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Value::Integer(number),
        Err(_) => unusable(at, format!("`{number}` is too large"), findings),
    }
}

fn unusable(at: Span, message: String, findings: &mut Findings) -> Value {
    findings.add(at, Wrong::new(message));
    Value::Unusable
}
