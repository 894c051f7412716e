//! Conformance runner and helpers of the end-to-end tests.

pub mod failure;
pub mod schema;
