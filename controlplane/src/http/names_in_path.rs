//! What a path and its query say, with errors that clients can read.

use axum::extract::FromRequestParts;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Segments of the path, percent-decoded.
pub struct Path<T>(pub T);

/// Parameters of the query, percent-decoded.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken = axum::extract::Path::from_request_parts(parts, state).await;
        let bad = |error: PathRejection| Problem::new(StatusCode::BAD_REQUEST, error.body_text());
        taken.map(|axum::extract::Path(all)| Self(all)).map_err(bad)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken = axum::extract::Query::from_request_parts(parts, state).await;
        let bad = |error: QueryRejection| Problem::new(StatusCode::BAD_REQUEST, error.body_text());
        taken.map(|axum::extract::Query(all)| Self(all)).map_err(bad)
    }
}
