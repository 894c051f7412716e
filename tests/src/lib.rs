//! Conformance runner and helpers of the end-to-end tests.

pub mod conformance;
pub mod fuzz;
