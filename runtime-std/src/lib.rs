//! The blocking clawgate client.
