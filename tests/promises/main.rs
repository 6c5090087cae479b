//! The promises, each kept by a test whose name states it, against real PostgreSQL servers that the tests start themselves.

mod alerts;
mod attack;
mod backfill;
mod bad_input;
mod belonging;
mod billing_log;
mod capture;
mod command_line;
mod consuming;
mod dead_letters;
mod disappearances;
mod docs;
mod doctor;
mod faults;
mod harness;
mod histories;
mod hostile_input;
mod hostile_names;
mod hostile_owners;
mod hostile_roles;
mod hostile_sessions;
mod hostile_shadows;
mod hostility;
mod house_rules;
mod installing;
mod journal;
mod periods;
mod posting;
#[path = "../simulator/proxy.rs"]
mod proxy;
mod reports;
mod retention;
mod rules;
mod switches;
mod tls;
mod vendor_ddl;
