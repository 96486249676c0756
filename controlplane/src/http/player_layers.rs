//! WHEP's layer extension: `/session/{key}/layer`. Of each picture there is one encoding as yet, so whatever can be chosen is
//! chosen already.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderName, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::App;
use super::names_in_path::Path;
use super::problem::Problem;
use super::sessions::{gone, is_type, unexpected};
use crate::rooms::{Action, Layer, Reply, SessionKey};

/// The extension's name, for the `Link` of the answer to a POST.
pub const REL: &str = "urn:ietf:params:whep:ext:core:layer";

/// Bytes of a selection.
const MAX_BODY: usize = 4 * 1024;
const JSON: &str = "application/json";

/// `/session/{key}/layer`
pub async fn endpoint(State(app): State<App>, Path(key): Path<String>, request: Request<Body>) -> Response {
    const ALLOW: &str = "GET, HEAD, POST, DELETE, OPTIONS";
    match *request.method() {
        Method::OPTIONS => {
            let accept = (HeaderName::from_static("accept-post"), JSON);
            (StatusCode::OK, [(header::ALLOW, ALLOW), accept]).into_response()
        }
        Method::GET | Method::HEAD | Method::POST | Method::DELETE => match SessionKey::parse(&key) {
            Some(key) => answer(&app, key, request)
                .await
                .unwrap_or_else(IntoResponse::into_response),
            None => gone().into_response(),
        },
        _ => Problem::method(ALLOW).into_response(),
    }
}

async fn answer(app: &App, key: SessionKey, request: Request<Body>) -> Result<Response, Problem> {
    let reply = app
        .signalling
        .request(|request| Action::Layers { request, key })
        .await;
    let (pictures, layers) = match reply {
        Reply::Layers { pictures, layers } => (pictures, layers),
        Reply::Refused(refused) => return Err(refused.into()),
        other => return Err(unexpected(&other)),
    };
    match *request.method() {
        Method::POST => select(&pictures, request).await,
        // Back to what the server chooses, which it has chosen.
        Method::DELETE => Ok(StatusCode::OK.into_response()),
        _ => Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(json(&layers))).into_response()),
    }
}

/// The data of a `layers` event.
pub fn json(layers: &BTreeMap<usize, Layer>) -> serde_json::Value {
    let one =
        |(line, Layer {}): (&usize, &Layer)| (line.to_string(), serde_json::json!([{ "spatialLayerId": 0 }]));
    layers.iter().map(one).collect::<serde_json::Map<_, _>>().into()
}

/// What a player may ask for. Names that are not here are refused: what they would ask for is not done.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selection {
    media_id: Option<MediaId>,
    rid: Option<String>,
    spatial_layer_id: Option<u32>,
    temporal_layer_id: Option<u32>,
    #[serde(rename = "maxSpatialLayerId")]
    _max_spatial_layer_id: Option<u32>,
    max_temporal_layer_id: Option<u32>,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

/// The index of an m-line: text in the draft, a number with some players.
#[derive(Deserialize)]
#[serde(untagged)]
enum MediaId {
    Text(String),
    Number(usize),
}

async fn select(pictures: &[usize], request: Request<Body>) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if !is_type(&parts.headers, JSON) {
        let detail = format!("Content-Type must be {JSON}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with(header::ACCEPT, JSON));
    }
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a selection has at most {MAX_BODY} bytes"),
        )
    })?;
    let selection: Selection = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("a JSON object wanted: {error}")))?;
    match selection.objection(pictures) {
        Some(why) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)),
        None => Ok(StatusCode::OK.into_response()),
    }
}

impl Selection {
    /// Why it can't be done.
    fn objection(&self, pictures: &[usize]) -> Option<String> {
        let line = match &self.media_id {
            None => None,
            Some(MediaId::Number(line)) => Some(Some(*line)),
            Some(MediaId::Text(text)) => Some(text.parse().ok()),
        };
        if line.is_some_and(|line| !line.is_some_and(|line| pictures.contains(&line))) {
            let all: Vec<String> = pictures.iter().map(usize::to_string).collect();
            return Some(format!(
                "mediaId is the index of an m-line for pictures: {}",
                all.join(", ")
            ));
        }
        let asked = [
            ("rid", self.rid.is_some()),
            (
                "spatialLayerId",
                self.spatial_layer_id.is_some_and(|layer| layer != 0),
            ),
            ("temporalLayerId", self.temporal_layer_id.is_some()),
            ("maxTemporalLayerId", self.max_temporal_layer_id.is_some()),
            ("maxWidth", self.max_width.is_some()),
            ("maxHeight", self.max_height.is_some()),
        ];
        let (name, _) = asked.into_iter().find(|(_, is_asked)| *is_asked)?;
        Some(format!(
            "{name}: a picture has one encoding, spatialLayerId 0, which is sent as it is"
        ))
    }
}
