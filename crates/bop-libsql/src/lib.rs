//! libSQL on bop.
