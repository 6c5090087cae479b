//! A finding, told as the shortest story that still leads to one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plan::{Actor, Plan, Side, Step};
use crate::world::{Servers, live};

/// Sessions and servers do not meet in the same way twice, so a shorter story is tried so often before it is given up.
const TRIES: usize = 2;

/// Leaves out of a plan what it can do without, for so long. Returns the shortest plan that led to a finding, and its findings.
pub async fn shorten(
    servers: &Arc<Servers>,
    plan: Plan,
    findings: Vec<String>,
    within: Duration,
) -> (Plan, Vec<String>) {
    let until = Instant::now() + within;
    let (mut plan, mut findings) = (plan, findings);
    // Whole actors first, which is most at once.
    for actor in actors(&plan) {
        let rest: Vec<Step> = plan.steps.iter().filter(|step| step.actor != actor).cloned().collect();
        try_shorter(servers, &mut plan, &mut findings, rest, until).await;
    }
    let mut pieces = 2;
    while pieces <= plan.steps.len() && Instant::now() < until {
        let size = plan.steps.len().div_ceil(pieces);
        let mut has_shrunk = false;
        let mut first = 0;
        while first < plan.steps.len() && Instant::now() < until {
            let last = (first + size).min(plan.steps.len());
            let rest: Vec<Step> = [&plan.steps[..first], &plan.steps[last..]].concat();
            if try_shorter(servers, &mut plan, &mut findings, rest, until).await {
                has_shrunk = true;
            } else {
                first = last;
            }
        }
        if !has_shrunk {
            pieces *= 2;
        }
    }
    (plan, findings)
}

fn actors(plan: &Plan) -> Vec<Actor> {
    let mut actors: Vec<Actor> = Vec::new();
    for step in &plan.steps {
        if !actors.contains(&step.actor) {
            actors.push(step.actor);
        }
    }
    actors
}

async fn try_shorter(
    servers: &Arc<Servers>,
    plan: &mut Plan,
    findings: &mut Vec<String>,
    steps: Vec<Step>,
    until: Instant,
) -> bool {
    if steps.len() == plan.steps.len() {
        return false;
    }
    let shorter = plan.with(steps);
    for _ in 0..TRIES {
        if Instant::now() >= until {
            return false;
        }
        let ended = live(servers, &shorter).await;
        if !ended.findings.is_empty() {
            (*plan, *findings) = (shorter, ended.findings);
            return true;
        }
    }
    false
}

/// Everything that somebody needs who looks for the cause.
pub fn tell(plan: &Plan, findings: &[String]) -> String {
    let steps: String = plan.steps.iter().map(|step| format!("{step}\n")).collect();
    format!(
        "seed {seed} leads to what must not be. Again: DAYBOOK_SIMULATE_SEED={seed} cargo test --test simulator -- --nocapture\n\n\
         {findings}\n\nthe shortest story found ({count} steps; {sides}):\n{shape:?}\n{steps}",
        seed = plan.seed,
        findings = findings.join("\n\n"),
        count = plan.steps.len(),
        sides = match plan.shape.two_clusters {
            true => format!("{} and {} in two clusters", Side::Source.name(), Side::Ledger.name()),
            false => "one database".into(),
        },
        shape = plan.shape,
    )
}
