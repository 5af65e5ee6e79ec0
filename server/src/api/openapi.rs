//! What the service offers, for programs (`/openapi.json`) and for people (`/docs`), from the declarations of the routes.
//!
//! In: the endpoints. Out: an OpenAPI 3.1 document, and a page made from it without any script.
//! *Invariant:* nothing is described twice: methods, paths and bodies are those of the handlers, who may call is the row
//! of the table, and that every refusal is a problem is said here once for all.
//! Start reading at [`describe`].

use std::fmt::Write as _;

use astro_shared::api::{PROBLEM_TYPE, Problem};
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use utoipa::PartialSchema as _;
use utoipa::ToSchema as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};

use super::access::{Access, CallerKind, Endpoint};

/// The page's whole style; nothing is loaded from anywhere.
const STYLE: &str = include_str!("docs.css");

/// What `/openapi.json` and `/docs` answer, made once.
#[derive(Clone, Debug)]
pub struct Description {
    json: Bytes,
    page: Bytes,
    /// Lets the page have its own style and nothing else.
    policy: String,
}

impl Description {
    pub(super) fn new(openapi: &OpenApi, endpoints: &[Endpoint]) -> Description {
        let json = openapi.to_pretty_json().expect("a document of strings and maps").into();
        let style = BASE64.encode(Sha256::digest(STYLE));
        let policy = format!("default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'");
        Description { page: page(openapi, endpoints).into(), json, policy }
    }

    pub(super) fn json(&self) -> impl IntoResponse + use<> {
        ([(header::CONTENT_TYPE, "application/json")], self.json.clone())
    }

    pub(super) fn page(&self) -> impl IntoResponse + use<> {
        let content_type = (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned());
        ([content_type, (header::CONTENT_SECURITY_POLICY, self.policy.clone())], self.page.clone())
    }
}

/// The document without its paths, for the router to put them in.
pub(super) fn begin(public_url: &str) -> OpenApi {
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
        SecurityScheme::Http(scheme.build())
    };
    let components = ComponentsBuilder::new()
        .schema(Problem::name(), Problem::schema())
        .security_scheme("account", bearer("An access token of `/v1/auth/…`, good for minutes."))
        .security_scheme("fleet", bearer("The fleet key; for hosts."));
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".into());
    let info = InfoBuilder::new()
        .title("Astro Party")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Everything around a match. The match itself is PROTOCOL.md."))
        .license(Some(license));
    let server = utoipa::openapi::Server::new(public_url);
    OpenApiBuilder::new().info(info).servers(Some([server])).components(Some(components.build())).build()
}

/// Says of every operation who may call it and that any refusal is a problem.
pub(super) fn describe(openapi: &mut OpenApi, endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        let Some(item) = openapi.paths.paths.get_mut(&endpoint.path) else { continue };
        let Some(operation) = operation_mut(item, endpoint) else { continue };
        if !endpoint.access.is_open() {
            let scheme = if endpoint.access == Access::HOST { "fleet" } else { "account" };
            operation.security = Some(vec![SecurityRequirement::new(scheme, Vec::<String>::new())]);
        }
        let statuses = CallerKind::ALL.iter().filter_map(|kind| endpoint.access.of(*kind).status());
        let refusals = statuses.map(|status| status.to_string()).chain(["default".to_owned()]);
        for status in refusals {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
            let what = if status == "default" { "Any other refusal" } else { "Not for this caller" };
            let response = ResponseBuilder::new().description(what).content(PROBLEM_TYPE, content.build());
            operation.responses.responses.entry(status).or_insert_with(|| RefOr::T(response.build()));
        }
    }
}

fn operation_mut<'a>(item: &'a mut PathItem, endpoint: &Endpoint) -> Option<&'a mut Operation> {
    let operation = match endpoint.method.as_str() {
        "POST" => &mut item.post,
        "PUT" => &mut item.put,
        "PATCH" => &mut item.patch,
        "DELETE" => &mut item.delete,
        _ => &mut item.get,
    };
    operation.as_mut()
}

/// The page: every operation with its words, its callers, its bodies.
fn page(openapi: &OpenApi, endpoints: &[Endpoint]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Astro Party: HTTP</title><style>{STYLE}</style><main><h1>Astro Party: HTTP</h1>\
         <p>For programs the same is at <a href=/openapi.json>/openapi.json</a>. Refusals are \
         <code>application/problem+json</code>; their <code>code</code> does not change.</p><nav><ul>"
    );
    for endpoint in endpoints {
        let _ = write!(out, "<li><a href=\"#{0}\"><code>{1}</code></a>", anchor(endpoint), escape(&title(endpoint)));
    }
    out += "</ul></nav>";
    for endpoint in endpoints {
        let _ = write!(out, "<section id=\"{}\"><h2><code>{}</code></h2>", anchor(endpoint), escape(&title(endpoint)));
        let mut item = openapi.paths.paths.get(&endpoint.path).cloned();
        if let Some(operation) = item.as_mut().and_then(|item| operation_mut(item, endpoint)) {
            write_operation(&mut out, operation);
        }
        let served = CallerKind::ALL.iter().filter(|kind| endpoint.access.of(**kind).status().is_none());
        let served: Vec<_> = served.map(|kind| format!("{kind:?}").to_lowercase()).collect();
        let served = if endpoint.access.is_open() { "anybody".into() } else { served.join(", ") };
        let _ = write!(out, "<p>For: {}</p></section>", served);
    }
    let schemas = openapi.components.as_ref().map(|components| serde_json::json!(components.schemas));
    out += "<h2 id=schemas>Bodies</h2>";
    for (name, schema) in schemas.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten() {
        let text = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            out,
            "<details id=\"schema-{0}\"><summary>{0}</summary><pre>{1}</pre></details>",
            escape(name),
            escape(&text)
        );
    }
    out + "</main></html>"
}

fn write_operation(out: &mut String, operation: &Operation) {
    for words in [&operation.summary, &operation.description].into_iter().flatten() {
        let _ = write!(out, "<p>{}</p>", escape(words));
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let place = serde_json::json!(parameter.parameter_in);
        let about = parameter.description.as_deref().unwrap_or_default();
        let _ = write!(
            out,
            "<p><code>{}</code> ({}) {}</p>",
            escape(&parameter.name),
            place.as_str().unwrap_or_default(),
            escape(about)
        );
    }
    let shown = serde_json::json!({"request": operation.request_body, "responses": operation.responses});
    let text = serde_json::to_string_pretty(&shown).unwrap_or_default();
    let _ = write!(out, "<details><summary>Request and answers</summary><pre>{}</pre></details>", escape(&text));
}

fn title(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path)
}

fn anchor(endpoint: &Endpoint) -> String {
    title(endpoint).chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Text for a page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::super::tests::Stage;
    use crate::store::tests::block_on;

    /// Broken by an endpoint whose handler says another path than its row, or a document that leaves one out.
    #[test]
    fn the_description_names_every_endpoint_and_every_refusal_is_a_problem() {
        block_on(async {
            let stage = Stage::open().await;
            let (status, body) = stage.get("/openapi.json").await;
            assert_eq!(status, StatusCode::OK);
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["openapi"], "3.1.0");
            for endpoint in super::super::endpoints(&stage.api) {
                let operation = &document["paths"][&endpoint.path][endpoint.method.as_str().to_lowercase()];
                let default =
                    &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(default, "#/components/schemas/Problem", "{} {}", endpoint.method, endpoint.path);
                let is_open = operation.get("security").is_none();
                assert_eq!(is_open, endpoint.access.is_open(), "{} {}", endpoint.method, endpoint.path);
            }
            let (status, page) = stage.get("/docs").await;
            let page = String::from_utf8(page).unwrap();
            assert!(status.is_success() && page.contains("GET /v1/matches/{id}") && !page.contains("<script"));
        });
    }
}
