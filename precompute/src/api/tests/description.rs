//! The description of the API against the code.

use std::collections::BTreeSet;

use super::*;
use crate::api::{description::OPENAPI, handlers::PATHS, problem::Kind};

/// As OpenAPI writes it.
fn templated(path: &str) -> String {
    let path = path.replace("/ID", "/{id}").replace("/SERIAL", "/{serial}");
    path.replace("/N", "/{number}").replace("/M", "/{other}")
}

#[test]
fn the_description_has_every_path_and_no_other() {
    let described = OPENAPI["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = described
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let told = PATHS.map(|(method, path, _)| (method.to_owned(), templated(path)));
    let index = ("GET".to_owned(), "/v1".to_owned());
    assert_eq!(described, told.into_iter().chain([index]).collect());

    // Each of them is there, with its method alone.
    let served = served();
    for (method, told, _) in PATHS {
        let path = told.replace("ID", &served.id).replace("SERIAL", "0A").replace("/N", "/1").replace("/M", "/2");
        let has =
            |method: &str| PATHS.iter().any(|(other, at, _)| *other == method && templated(at) == templated(told));
        let other = ["POST", "GET", "DELETE"].into_iter().find(|method| !has(method)).unwrap();
        let reply = served.ask(other, &path, "application/json", "", "{}");
        assert_eq!(reply.status, 405, "{other} {path}: {}", reply.body);
        if path == "/v1/snapshot" {
            // No text.
            continue;
        }
        let reply = served.ask(method, &path, "application/json", "", "");
        assert!(!reply.body.contains("the paths are"), "{method} {path}: {}", reply.body);
    }
    // And there is no other: whatever the code has as a literal is among them.
    let code = include_str!("../handlers.rs");
    for path in code.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let path = format!("/v1{}", path.trim_start_matches("/v1").trim_end_matches('/'));
        assert!(described.iter().any(|(_, known)| *known == path), "{path} is not described");
    }
}

#[test]
fn the_description_has_every_status_of_a_problem_and_what_it_refers_to() {
    let components = &OPENAPI["components"];
    let statuses: BTreeSet<u64> = OPENAPI["paths"].as_object().unwrap().values().flat_map(statuses_of).collect();
    for kind in Kind::ALL {
        assert!(statuses.contains(&kind.status().into()) || kind == Kind::MethodNotAllowed, "{kind:?}");
    }
    let text = OPENAPI.to_string();
    for reference in text.split("\"#/components/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let (group, name) = reference.split_once('/').unwrap();
        assert!(components[group][name].is_object(), "{reference}");
    }
    assert_eq!(OPENAPI["info"]["version"], env!("CARGO_PKG_VERSION"));
}

fn statuses_of(path: &Value) -> Vec<u64> {
    let operations = path.as_object().unwrap().values();
    operations
        .flat_map(|of| of["responses"].as_object().unwrap().keys())
        .map(|status| status.parse().unwrap())
        .collect()
}
