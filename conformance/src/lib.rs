//! Runs any containerd shim as containerd would, breaks things, and judges it by a written contract.
//!
//! The suite is a black box around the shim: it speaks to a path, never to a crate. Reading order is the order of the modules.
#![forbid(unsafe_code)]

pub mod audit;
pub mod bench;
pub mod chaos;
pub mod check;
pub mod checks;
pub mod claim;
pub mod cli;
pub mod clock;
pub mod containerd;
pub mod contract;
pub mod coverage;
pub mod crash_points;
pub mod doctor;
pub mod drive;
pub mod entry;
pub mod exit_code;
pub mod expect;
pub mod history;
pub mod host;
pub mod invariant;
pub mod lab;
pub mod lie;
pub mod model;
pub mod overlap;
pub mod payload;
pub mod probe;
pub mod profile;
pub mod property;
pub mod report;
pub mod runner;
pub mod script;
pub mod select;
pub mod session;
pub mod signals;
pub mod subject;
pub mod suite;
pub mod sweep;
pub mod tenancy;
pub mod wire;
