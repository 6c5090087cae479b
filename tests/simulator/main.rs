//! The simulator: a legacy application at work, consumers that are the real program, and faults that strike at random; then the
//! faults end, the queue drains, and an oracle that shares nothing with the posting code compares every bill.
//!
//! Everything comes from a seed. `DAYBOOK_SIMULATE_SECONDS=3600` goes on for an hour, `DAYBOOK_SIMULATE_SEED=17` lives one seed;
//! see `tests/README.md`.

mod application;
mod consumers;
mod crashing;
mod dba;
mod faults;
mod oracle;
mod plan;
mod planted;
mod proxy;
mod story;
mod world;
mod writes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::world::{Servers, live};

/// How long the suite simulates, where nobody asks for more.
const SECONDS: u64 = 50;

/// How long a story is shortened.
const SHORTEN_SECONDS: u64 = 120;

#[test]
fn whatever_strikes_the_ledger_ends_as_the_bills_say() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    if let Err(story) = runtime.block_on(simulate()) {
        panic!("{story}");
    }
}

async fn simulate() -> Result<(), String> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let one = number("DAYBOOK_SIMULATE_SEED");
    let limit = Duration::from_secs(number("DAYBOOK_SIMULATE_SECONDS").unwrap_or(SECONDS));
    let first = one.or(number("DAYBOOK_SIMULATE_FIRST_SEED")).unwrap_or(1);
    let shorten = Duration::from_secs(number("DAYBOOK_SIMULATE_SHORTEN_SECONDS").unwrap_or(SHORTEN_SECONDS));
    let started = Instant::now();
    let servers = Arc::new(Servers::start().await);
    let mut totals = Totals::default();
    let mut repeats = number("DAYBOOK_SIMULATE_REPEAT").unwrap_or(1);
    let mut seed = first;
    while seed == first || (one.is_none() && started.elapsed() < limit) {
        let plan = Plan::new(seed);
        let begun = Instant::now();
        let ended = live(&servers, &plan).await;
        println!(
            "seed {seed}: {} steps, {} changes, {} entries, {} findings, {:.1} s, {:.1} s of them to drain",
            plan.steps.len(),
            ended.changes,
            ended.entries,
            ended.findings.len(),
            begun.elapsed().as_secs_f32(),
            ended.drained_after.as_secs_f32()
        );
        totals.seeds += 1;
        totals.changes += ended.changes;
        totals.entries += ended.entries;
        for (kind, count) in ended.faults {
            *totals.faults.entry(kind).or_default() += count;
        }
        for (how, count) in ended.steps {
            *totals.steps.entry(how).or_default() += count;
        }
        if !ended.findings.is_empty() {
            totals.say(1);
            println!("shortening the story for {} s at most", shorten.as_secs());
            let (plan, findings) = story::shorten(&servers, plan, ended.findings, shorten).await;
            return Err(story::tell(&plan, &findings));
        }
        repeats = repeats.saturating_sub(1);
        if one.is_none() || repeats == 0 {
            seed += 1;
        }
    }
    totals.say(0);
    Ok(())
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    changes: i64,
    entries: i64,
    faults: BTreeMap<String, u64>,
    steps: BTreeMap<String, u64>,
}

impl Totals {
    fn say(&self, findings: u64) {
        let told = |counts: &BTreeMap<String, u64>| {
            let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
            counts.join(", ")
        };
        println!("how steps ended: {}", told(&self.steps));
        let Totals { seeds, changes, entries, faults, .. } = self;
        let (struck, faults) = (faults.values().sum::<u64>(), told(faults));
        println!(
            "simulated {seeds} seeds; {changes} committed changes, {entries} entries; {struck} faults: {faults}; findings: {findings}"
        );
    }
}
