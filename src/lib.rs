//! daybook keeps a ledger that is a function of a clinic's bills.
//!
//! An event says *that* a bill changed; its row says *what it is*. The queue carries keys, never amounts. To process an
//! event is to synchronise its bill: lock it in the ledger, then read its row, compute the lines that it should have,
//! compare them with the lines that it has, and post the difference as whole entries.
//!
//! The rooms, in the order in which data flows:
//!
//! | room | what it does |
//! | --- | --- |
//! | `sql/source`, `triggers/` | capture: the schema `daybook`, the trigger functions, attach and detach (SQL) |
//! | [`stream`] | capture from the WAL: the slot, pgoutput, transactions into events, what the triggers missed |
//! | [`queue`] | claims events, acknowledges them with their outcome, puts them back; dead letters |
//! | [`capture`], [`key`] | what is known of an attached table, and the statement that reads its bills |
//! | [`posting`] | the pure core: rule and row → desired lines → entries |
//! | [`ledger`], [`journal`], `sql/ledger` | bills under lock; live entries, and the append-only journal with its guards (SQL) |
//! | [`synchronise`], [`judgement`] | one batch: claim, lock, read, compute, post, acknowledge; what becomes of each bill |
//! | `gaps` | changes that bypassed the triggers: whether a posting shows one, and telling it |
//! | `spread`, [`walk`] | events of a whole table become events of its bills; its keys in order, in chunks |
//! | [`consumer`], `attempts`, [`housekeeping`] | workers, `run` and `drain`; what happens after errors; signs of life |
//! | [`reconcile`] | the proof: every bill beside the ledger, findings and their repair, and when |
//! | [`chain`], [`verify`](mod@verify) | entries sealed into a chain of blocks, its head published; the ledger proven by itself |
//! | [`supervise`] | several sources in one process |
//! | [`error`] | one map from error to what happens next |
//! | [`crash_point`] | where a test can have the process die |
//! | [`settings`], [`options`], [`address`], `tls`, [`database`], [`sql`] | settings, connection strings, sessions, statements |
//! | [`connecting`], [`meeting`] | both sides of a consumer, and whether they are still those that knew each other |
//! | [`closure`], `closed_cash`, `cash_reminder` | a site's day of cash as commands; where it is closed, as posting asks; the reminder |
//! | [`rules`], [`periods`], [`chart`], [`backfill`], [`switches`], [`dead_letters`] | what accountants and DBAs decide, as commands |
//! | [`install`], [`identity`], [`status`], [`doctor`] | what the commands of these names do |
//! | [`report`] | where a number came from, what the accounts amount to, the journal in other programs' formats |
//! | [`print`](mod@print) | standard output |
//! | [`demo`], [`private_server`] | a clinic at work, on a PostgreSQL that is gone afterwards |

pub mod address;
mod attempts;
pub mod backfill;
pub mod capture;
mod cash_reminder;
pub mod chain;
pub mod chart;
mod closed_cash;
pub mod closure;
pub mod connecting;
pub mod consumer;
pub mod crash_point;
pub mod database;
pub mod dead_letters;
pub mod demo;
pub mod doctor;
pub mod error;
mod gaps;
pub mod housekeeping;
pub mod identity;
pub mod install;
pub mod journal;
pub mod judgement;
pub mod key;
pub mod ledger;
pub mod meeting;
pub mod options;
pub mod periods;
pub mod posting;
pub mod print;
pub mod private_server;
pub mod queue;
pub mod reconcile;
pub mod report;
pub mod rules;
pub mod settings;
mod spread;
pub mod sql;
pub mod status;
pub mod stream;
pub mod supervise;
pub mod switches;
pub mod synchronise;
mod tls;
pub mod verify;
pub mod walk;
