//! What a run does.

pub(crate) mod broadcast;
pub(crate) mod capacity;
pub(crate) mod churn;
pub(crate) mod conference;
pub(crate) mod soak;
