//! The OpenAPI document, out of the table of routes and the types' own schemas.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use model::registration::ErrorBody;

use super::{Content, ROUTES, Route};
use crate::auth::Access;
use crate::state::VERSION;

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// OpenAPI 3.1, whose schemas are JSON Schema.
pub(crate) fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route, &mut generator, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vps-test registry",
            "version": VERSION,
            "description": "Who is there, which runs there are, and what they came to. docs/registry.md explains it.",
            "license": { "name": "MIT OR Apache-2.0" }
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token of the fleet: `vps-test-registry token add`." }
            }
        }
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, error: &Schema) -> Value {
    let failed = json!({
        "description": "What is wrong: a word for programs and a sentence for people",
        "content": { "application/json": { "schema": error } }
    });
    let mut answers = json!({
        "200": { "description": "Done", "content": content(route.answer, generator) },
        "4XX": failed, "5XX": failed
    });
    if matches!(route.answer, Content::Nothing)
        && let Some(done) = answers["200"].as_object_mut()
    {
        done.remove("content");
    }
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "x-scope": scope(route.access),
        "parameters": parameters(route, generator),
        "responses": answers,
    });
    if !route.description.is_empty() {
        operation["description"] = route.description.into();
    }
    if !matches!(route.request, Content::Nothing) {
        operation["requestBody"] =
            json!({ "required": true, "content": content(route.request, generator) });
    }
    operation["security"] = match route.access {
        Access::Anybody => json!([]),
        _ => json!([{ "token": [] }]),
    };
    operation
}

/// `get_api_peers`
fn operation_id(route: &Route) -> String {
    let path: String = route
        .path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let words: Vec<&str> = path.split('_').filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method, words.join("_"))
}

pub(crate) fn scope(access: Access) -> &'static str {
    match access {
        Access::Anybody => "none",
        Access::Read => "viewer or operator",
        Access::Peer => "peer",
        Access::Operator => "operator",
    }
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Value {
    let of = |kind: &str, schema: Value| json!({ kind: { "schema": schema } });
    match content {
        Content::Nothing => json!({}),
        Content::Json(schema) => of("application/json", schema(generator).to_value()),
        Content::Object => of("application/json", json!({ "type": "object" })),
        Content::JournalLines => of("application/x-ndjson", json!({ "type": "string" })),
        Content::EventStream(schema) => json!({ "text/event-stream": {
            "schema": { "type": "string" },
            "x-event-data": schema(generator)
        } }),
        Content::Prometheus => of("text/plain", json!({ "type": "string" })),
    }
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        )
    });
    let mut all: Vec<Value> = names.collect();
    let Some(query) = route.query else { return all };
    let reference = query(generator).to_value();
    let name = reference["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    let shape = generator.definitions().get(name).cloned();
    let fields = shape
        .as_ref()
        .and_then(|shape| shape["properties"].as_object())
        .cloned()
        .unwrap_or_default();
    for (name, mut schema) in fields {
        let description = schema
            .as_object_mut()
            .and_then(|schema| schema.remove("description"));
        let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        all.push(parameter);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method];
            assert_eq!(operation["summary"], route.summary);
            let in_path = route.path.matches('{').count();
            let parameters = operation["parameters"].as_array().unwrap();
            let named = parameters.iter().filter(|p| p["in"] == "path").count();
            assert_eq!(named, in_path, "{}", route.path);
            if route.query.is_some() {
                assert!(parameters.len() > in_path, "{}", route.path);
            }
        }
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut ids: Vec<_> = ROUTES.iter().map(operation_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
