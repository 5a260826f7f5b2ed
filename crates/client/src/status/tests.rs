//! `docs/status.md` and the structures above have the same fields.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/status.md");

/// The example in the document.
fn example() -> Status {
    serde_json::from_value(documented_example()).unwrap_or_else(|error| {
        panic!("the example in docs/status.md is no status any more: {error}")
    })
}

fn documented_example() -> Value {
    let (_, rest) = DOCUMENT.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    serde_json::from_str(json).unwrap()
}

/// Field and type of each row of the document's table.
fn documented_fields() -> BTreeMap<String, String> {
    let rows = DOCUMENT.lines().filter_map(|row| {
        let mut cells = row.strip_prefix("| `")?.split(" | ");
        let field = cells.next()?.trim_end_matches('`');
        Some((field.to_owned(), cells.next()?.to_owned()))
    });
    rows.collect()
}

/// Every field of a value with its type, by its path.
fn fields(value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{name}");
                out.insert(path.clone(), type_of(value, &path).to_owned());
                fields(value, &path, out);
            }
        }
        Value::Array(list) => {
            let path = format!("{path}[]");
            let first = &list[0];
            if !first.is_object() {
                out.insert(path.clone(), type_of(first, &path).to_owned());
            }
            fields(first, &path, out);
        }
        _ => {}
    }
}

fn type_of(value: &Value, path: &str) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "true or false",
        Value::Object(_) => "object",
        Value::Array(list) if !list.is_empty() => "list",
        _ => panic!("give `{path}` a value in the example in docs/status.md"),
    }
}

/// The value at a path; the first element of lists.
fn at<'v>(value: &'v mut Value, path: &str) -> &'v mut Value {
    path.split('.')
        .fold(value, |value, name| match name.strip_suffix("[]") {
            Some(list) => &mut value[list][0],
            None => &mut value[name],
        })
}

#[test]
fn the_document_has_the_fields_of_the_status_and_no_others() {
    let full = serde_json::to_value(example()).unwrap();
    let mut real = BTreeMap::new();
    fields(&full, "", &mut real);
    // What may be null is still a status with null there.
    for (path, kind) in &mut real {
        let mut without = full.clone();
        *at(&mut without, path) = Value::Null;
        if serde_json::from_value::<Status>(without).is_ok() {
            kind.push_str(" or null");
        }
    }
    let documented = documented_fields();
    let row = |(field, kind): (&String, &String)| format!("`{field}` | {kind}");
    let missing: Vec<_> = real
        .iter()
        .filter(|(field, kind)| documented.get(*field) != Some(kind))
        .map(row)
        .collect();
    let stale: Vec<_> = documented
        .iter()
        .filter(|(field, kind)| real.get(*field) != Some(kind))
        .map(row)
        .collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/status.md: its table and example must hold each field of the status.\n\
         Rows to add (field | type), also with a value in the example: {missing:#?}\n\
         Rows that are wrong or of fields that are gone: {stale:#?}"
    );
}

#[test]
fn the_example_holds_what_a_status_holds() {
    let real = serde_json::to_value(example()).unwrap();
    assert_eq!(
        documented_example(),
        real,
        "the example in docs/status.md (left) lacks fields, or has others than the status (right)"
    );
}

#[test]
fn an_older_engines_status_is_understood() {
    let mut old = documented_example();
    old.as_object_mut().unwrap().remove("readers");
    let status: Status = serde_json::from_value(old).unwrap();
    assert_eq!((status.clients, status.readers.len()), (1, 0));
}

#[test]
fn a_position_that_cannot_be_is_forgotten() {
    let mut reader = ReaderStatus {
        position: Some(1_600),
        ..Default::default()
    };
    reader.measure_lag(3_200);
    assert_eq!((reader.lag, reader.lag_ms), (Some(1_600), Some(100.0)));
    reader.measure_lag(1_599);
    assert_eq!((reader.position, reader.lag), (None, None));
    assert_eq!(reader.lag_ms, None);
}
