//! Answers conformance cases with the functions of the core.

pub mod hostpolicy;
