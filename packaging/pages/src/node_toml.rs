//! node.toml(5), from the JSON Schema: a heading for each section, an entry for each key with its type, its default and
//! what it is for.

use crate::File;
use crate::page::{Page, portable};
use clap_mangen::roff::{Inline, bold, italic, roman};
use serde_json::Value;
use std::io;

const EXAMPLE: &[&str] = &[
    "[secrets.app]",
    "id = \"app-secrets\"",
    "require = [\"SECRET_KEY\"]",
    "",
    "[services.api]",
    "image = \"${account}.dkr.ecr.${region}.amazonaws.com/api:latest\"",
    "ports = [\"80:8000\"]",
    "environment_from = [\"app\"]",
    "health = { http = \"/health\" }",
    "",
    "[logs]",
    "group = \"/aws/ec2/api\"",
];

/// The page.
pub(crate) fn page() -> io::Result<File> {
    let schema = node::config::schema();
    let mut page = Page::new("node.toml", "5");
    page.heading("NAME").paragraph("node.toml - configuration of node-bootstrap and node-agent");
    page.heading("SYNOPSIS").paragraph("`/etc/node-agent/node.toml`, `/etc/node-agent/node.d/*.toml`");
    page.heading("DESCRIPTION").paragraph(description(&schema));
    page.paragraph(
        "Drop-ins are read after the file, in the order of their names; a key in one takes the place of the same key \
         before it. Unknown keys are mistakes. `agentctl config check` reports every mistake at once, with line and \
         column; `agentctl config show` prints what is in force, with every default.",
    );
    page.heading("EXAMPLE").lines(EXAMPLE);
    let properties = schema["properties"].as_object();
    for (name, section) in properties.into_iter().flatten() {
        sections(&mut page, name, section)?;
    }
    page.heading("SEE ALSO").paragraph("agentctl(1), agentctl-config(1), node-agent(8), node-bootstrap(8)");
    Ok(File { path: "man/man5/node.toml.5".to_owned(), content: portable(&page.render()) })
}

/// A table with a heading of its own, and the tables in it that have names.
fn sections(page: &mut Page, path: &str, schema: &Value) -> io::Result<()> {
    match named_tables(schema) {
        // `[services.NAME]`: what is said of all stands above what is said of each.
        Some(each) => {
            page.heading(&format!("[{path}.NAME]"));
            let of_all = description(schema);
            if !of_all.is_empty() {
                page.paragraph(of_all);
            }
            table(page, &format!("{path}.NAME"), each)
        }
        None if schema["properties"].is_object() => {
            page.heading(&format!("[{path}]"));
            page.paragraph(description(schema));
            table(page, path, schema)
        }
        None => {
            page.heading(&format!("[{path}]"));
            page.paragraph(description(schema));
            Ok(())
        }
    }
}

/// The schema of each table of a table with names of the writer's choice.
fn named_tables(schema: &Value) -> Option<&Value> {
    Some(&schema["additionalProperties"]).filter(|each| each["properties"].is_object())
}

fn table(page: &mut Page, path: &str, schema: &Value) -> io::Result<()> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema["properties"].as_object() else {
        return Err(io::Error::other(format!("{path} has no keys")));
    };
    let (tables, keys): (Vec<_>, Vec<_>) = properties
        .iter()
        .partition(|(_, inner)| inner["properties"].is_object() || named_tables(inner).is_some());
    for (name, key) in keys {
        entry(page, name, key, required.contains(&name.as_str()));
    }
    for (name, inner) in tables {
        let each = named_tables(inner);
        let path = format!("{path}.{name}{}", if each.is_some() { ".NAME" } else { "" });
        page.smaller_heading(&format!("[{path}]"));
        page.paragraph(description(inner));
        table(page, &path, each.unwrap_or(inner))?;
    }
    Ok(())
}

fn entry(page: &mut Page, name: &str, schema: &Value, required: bool) {
    let mut term: Vec<Inline> = vec![bold(name), roman(" = "), italic(kind(schema))];
    let default = &schema["default"];
    let is_empty =
        default.as_array().is_some_and(Vec::is_empty) || default.as_object().is_some_and(|it| it.is_empty());
    if required {
        term.push(roman(" (required)"));
    } else if !default.is_null() && !is_empty {
        term.push(roman(format!(" (default: {default})")));
    }
    page.entry(term, description(schema));
    let choices = described_choices(schema);
    let tables = inner_tables(schema);
    if choices.is_empty() && tables.is_empty() {
        return;
    }
    page.nested(|page| {
        for (choice, text) in choices {
            page.entry(vec![bold(choice)], text);
        }
        for table in tables {
            let required = table["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let required: Vec<&str> = required.collect();
            for (name, key) in table["properties"].as_object().into_iter().flatten() {
                entry(page, name, key, required.contains(&name.as_str()));
            }
        }
    });
}

/// Values that a key may have, with what each means.
fn described_choices(schema: &Value) -> Vec<(String, &str)> {
    alternatives(schema)
        .flat_map(|choice| if choice["const"].is_null() { described_choices(choice) } else { Vec::new() })
        .chain(
            alternatives(schema)
                .filter(|choice| !choice["const"].is_null() && !description(choice).is_empty())
                .map(|choice| (choice["const"].to_string(), description(choice))),
        )
        .chain(schema.get("items").into_iter().flat_map(described_choices))
        .collect()
}

/// Tables that may stand in the place of a value, or as an item of a list.
fn inner_tables(schema: &Value) -> Vec<&Value> {
    let inner = alternatives(schema).chain(schema.get("items")).chain(schema.get("additionalProperties"));
    inner.flat_map(|it| if it["properties"].is_object() { vec![it] } else { inner_tables(it) }).collect()
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().flat_map(|key| schema[key].as_array().into_iter().flatten())
}

/// `"ours" | "all"`, `list of string`
fn kind(schema: &Value) -> String {
    if !schema["const"].is_null() {
        return schema["const"].to_string();
    }
    let kinds: Vec<String> = alternatives(schema).map(kind).collect();
    if !kinds.is_empty() {
        return kinds.join(" | ");
    }
    match schema["type"].as_str().unwrap_or("value") {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["properties"].is_object() => "table".to_owned(),
        "object" => format!("table of {}", kind(&schema["additionalProperties"])),
        kind => kind.to_owned(),
    }
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}
