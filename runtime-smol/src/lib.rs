//! The clawgate gateway on smol.
