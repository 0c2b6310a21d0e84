//! `schema`: JSON Schemas for editors, made from the types that read the files.
//!
//! A schema is never stricter than the reader: a text may be written as a number, and in a playbook an expression
//! `{{ … }}` may stand for any argument. It knows nothing of names, addresses and how they belong together.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::printer::Printer;
use crate::load::playbook::{PlaybookFile, TaskFile};
use crate::model::inventory::InventoryFile;
use crate::model::rules::RulesFile;
use crate::resource::kinds;

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of which files
    file: SchemaOf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// The files of an inventory
    Inventory,
    /// Playbooks, and files of tasks that they include
    Playbook,
    /// Rules of the fleet's own, in `policies` in the inventory's folder
    Rules,
}

pub(super) fn run(args: &SchemaArgs, printer: &Printer) -> Exit {
    printer.json(&match args.file {
        SchemaOf::Inventory => inventory(),
        SchemaOf::Playbook => playbook(),
        SchemaOf::Rules => own_rules(),
    });
    Exit::Done
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn inventory() -> Value {
    let mut schema = schema_of::<InventoryFile>();
    titled(&mut schema, "Inventory of provision");
    each_schema(&mut schema, &loosen);
    schema
}

fn own_rules() -> Value {
    let mut schema = schema_of::<RulesFile>();
    titled(&mut schema, "Rules of provision");
    each_schema(&mut schema, &loosen);
    schema
}

fn playbook() -> Value {
    let mut schema = schema_of::<PlaybookFile>();
    titled(&mut schema, "Playbook of provision");
    let task = task_schema();
    let mut kind_schemas = Map::new();
    for kind in kinds() {
        let mut arguments = kind.schema();
        if let Some(entries) = arguments.as_object_mut() {
            entries.shift_remove("$schema");
            entries.shift_remove("title");
            entries.insert("description".to_owned(), Value::from(kind.summary));
        }
        each_schema(&mut arguments, &loosen);
        each_argument(&mut arguments);
        kind_schemas.insert(format!("kind.{}", kind.name), arguments);
    }
    each_schema(&mut schema, &loosen);
    if let Some(entries) = schema.as_object_mut() {
        // A file that a task includes is a list of tasks. `properties` speaks only of maps and `items` only of lists.
        entries.insert("type".to_owned(), json!(["object", "array"]));
        entries.insert("items".to_owned(), json!({"$ref": "#/$defs/TaskFile"}));
        let defs = entries.entry("$defs").or_insert_with(|| json!({}));
        if let Some(defs) = defs.as_object_mut() {
            defs.insert("TaskFile".to_owned(), task);
            defs.extend(kind_schemas);
        }
    }
    if let Some(health) = schema.pointer_mut("/$defs/RollingFile/properties/health/items") {
        *health = json!({"$ref": "#/$defs/kind.check"});
    }
    for key in ["drain", "resume"] {
        if let Some(command) = schema.pointer_mut(&format!("/$defs/RollingFile/properties/{key}")) {
            let description = command.get("description").cloned().unwrap_or_default();
            *command = json!({"description": description, "$ref": "#/$defs/kind.command"});
        }
    }
    schema
}

/// Returns the schema of a task: the keys of all tasks, and of the kinds and `include` exactly one.
fn task_schema() -> Value {
    let mut schema = schema_of::<TaskFile>();
    each_schema(&mut schema, &loosen);
    let mut one_of = vec![json!({"required": ["include"]})];
    if let Some(entries) = schema.as_object_mut() {
        entries.shift_remove("$schema");
        entries.shift_remove("title");
        if let Some(properties) = entries.get_mut("properties").and_then(Value::as_object_mut) {
            for kind in kinds() {
                properties.insert(kind.name.to_owned(), json!({"$ref": format!("#/$defs/kind.{}", kind.name)}));
                one_of.push(json!({"required": [kind.name]}));
            }
        }
        entries.insert("oneOf".to_owned(), Value::Array(one_of));
    }
    schema
}

fn titled(schema: &mut Value, title: &str) {
    if let Some(entries) = schema.as_object_mut() {
        entries.insert("title".to_owned(), Value::from(title));
    }
}

/// Calls `change` with each schema inside `schema`, the inner ones first.
fn each_schema(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Some(entries) = schema.as_object_mut() else { return };
    for (key, value) in entries.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "patternProperties", Value::Object(inner)) => {
                inner.values_mut().for_each(|schema| each_schema(schema, change));
            }
            ("oneOf" | "anyOf" | "allOf" | "prefixItems", Value::Array(inner)) => {
                inner.iter_mut().for_each(|schema| each_schema(schema, change));
            }
            ("items" | "additionalProperties" | "propertyNames" | "not", inner) => each_schema(inner, change),
            _ => {}
        }
    }
    change(entries);
}

/// Lets a text be written as anything that YAML would take for a number or a truth value: `serial: 0012`.
fn loosen(schema: &mut Map<String, Value>) {
    if ["enum", "const", "pattern", "format"].iter().any(|key| schema.contains_key(*key)) {
        return;
    }
    let Some(kind) = schema.get_mut("type") else { return };
    let mut names: Vec<Value> = match kind {
        Value::String(_) => vec![kind.clone()],
        Value::Array(names) => names.clone(),
        _ => return,
    };
    if names.iter().any(|name| name == "string") {
        for other in ["number", "boolean"] {
            if !names.iter().any(|name| name == other) {
                names.push(Value::from(other));
            }
        }
        *kind = Value::Array(names);
    }
}

/// Lets an expression stand for each argument and each item of a list.
fn each_argument(schema: &mut Value) {
    let Some(entries) = schema.as_object_mut() else { return };
    for (key, value) in entries.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(arguments)) => {
                for argument in arguments.values_mut() {
                    each_argument(argument);
                    or_expression(argument);
                }
            }
            ("items" | "additionalProperties", inner @ Value::Object(_)) => {
                each_argument(inner);
                or_expression(inner);
            }
            ("oneOf" | "anyOf" | "allOf", Value::Array(inner)) => inner.iter_mut().for_each(each_argument),
            _ => {}
        }
    }
}

fn or_expression(schema: &mut Value) {
    let Some(entries) = schema.as_object_mut() else { return };
    let takes_any_text = entries.get("type").is_none_or(|kind| {
        kind == "string" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "string"))
    });
    let limits = ["enum", "const", "pattern", "oneOf", "anyOf", "allOf"];
    if takes_any_text && !limits.iter().any(|limit| entries.contains_key(*limit)) {
        return;
    }
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = entries.shift_remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    let inner = Value::Object(std::mem::take(entries));
    outer.insert("anyOf".to_owned(), json!([inner, {"type": "string", "pattern": "\\{\\{"}]));
    *schema = Value::Object(outer);
}

#[cfg(test)]
mod tests {
    use camino::{Utf8Path, Utf8PathBuf};

    use super::*;
    use crate::diag::{Diagnostics, Sources};
    use crate::fs;
    use crate::load::yaml;

    fn read(text: &str) -> Value {
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let node = yaml::parse(&mut sources, Utf8Path::new("a.yaml"), text.as_bytes(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        node.unwrap().to_json()
    }

    fn problems(schema: &Value, text: &str) -> Vec<String> {
        let validator = jsonschema::draft202012::new(schema).unwrap();
        validator.iter_errors(&read(text)).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn yaml_files(folder: &Utf8Path) -> Vec<Utf8PathBuf> {
        let mut found = Vec::new();
        for path in fs::list_folder(folder).unwrap() {
            if path.is_dir() {
                found.extend(yaml_files(&path));
            } else if path.extension() == Some("yaml") {
                found.push(path);
            }
        }
        found
    }

    fn shipped(folder: &str, schema: &Value) {
        let files = yaml_files(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(!files.is_empty());
        for file in files {
            let found = problems(schema, &fs::read_to_string(&file).unwrap());
            assert!(found.is_empty(), "{file}: {found:#?}");
        }
    }

    #[test]
    fn the_schemas_are_schemas() {
        for schema in [inventory(), playbook()] {
            jsonschema::draft202012::meta::validate(&schema).unwrap();
        }
    }

    #[test]
    fn what_is_shipped_keeps_to_the_schemas() {
        shipped("inventories", &inventory());
        shipped("playbooks", &playbook());
    }

    #[test]
    fn the_examples_of_all_kinds_keep_to_the_schema() {
        let schema = playbook();
        for kind in kinds() {
            let found = problems(&schema, kind.example);
            assert!(found.is_empty(), "{}: {found:#?}", kind.name);
        }
    }

    #[test]
    fn a_typo_is_refused() {
        let (inventory, playbook) = (inventory(), playbook());
        for text in [
            "host: {}",
            "hosts: {a: {sit: par1}}",
            "hosts: {a: {ssh: {port: '22'}}}",
            "sites: {par1: {country: France}}",
            "sites: {par1: {}}",
            "zones: {a: {nature: production, natur: control}}",
        ] {
            assert!(!problems(&inventory, text).is_empty(), "{text}");
        }
        let task = |task: &str| format!("plays: [{{name: a, hosts: all, tasks: [{task}]}}]");
        for text in [
            "{file: {path: /a}, notify: 'service[a]'}",
            "{file: {path: /a, mode: '{{ mode }}', state: '{{ state }}'}, when: a, tags: [x]}",
            "{package: {names: '{{ all }}', hold: '{{ hold }}'}}",
            "{include: other.yaml, vars: {a: 1}}",
            "{check: {port: '{{ port }}', timeout: 5}}",
        ] {
            assert_eq!(problems(&playbook, &task(text)), Vec::<String>::new(), "{text}");
        }
        for text in [
            "{fil: {path: /a}}",
            "{file: {path: /a, colour: red}}",
            "{file: {mode: '0644'}}",
            "{file: {path: etc/motd}}",
            "{file: {path: /a}, link: {path: /b, target: /a}}",
            "{file: {path: /a}, include: b.yaml}",
            "{when: a}",
            "{file: {path: /a}, wen: a}",
            "{package: {name: a, hold: 'yes'}}",
        ] {
            assert!(!problems(&playbook, &task(text)).is_empty(), "{text}");
        }
        for text in
            ["play: []", "plays: [{name: a}]", "plays: [{name: a, hosts: all, rolling: {health: [{comand: a}]}}]"]
        {
            assert!(!problems(&playbook, text).is_empty(), "{text}");
        }
        assert!(!problems(&playbook, "- fil: {path: /a}\n").is_empty());
    }
}
