//! One process for several sources, each with connections, workers and failures of its own: one that is down slows no other.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::consumer::{self, Drained};
use crate::error::{Error, Result};
use crate::options::Databases;

/// How long a source is left alone whose first connections failed.
const START_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Consumes from each source until `shutdown`. Where there is one only, fails if its first connections do; one of several is
/// tried again and again.
pub async fn run(mut sources: Vec<Databases>, shutdown: impl Future<Output = ()>) -> Result<()> {
    if sources.len() == 1
        && let Some(only) = sources.pop()
    {
        return consumer::run(only, shutdown).await;
    }
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for source in sources {
        let mut stopped = stopped.clone();
        tasks.spawn(async move {
            let name = source.name.clone().unwrap_or_default();
            while !*stopped.borrow() {
                let mut stop = stopped.clone();
                let until = async move {
                    let _ = stop.wait_for(|stop| *stop).await;
                };
                match consumer::run(source.clone(), until).await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(source = name, "starts again in a while: {error}"),
                }
                let _ = tokio::time::timeout(START_AGAIN_AFTER, stopped.wait_for(|stop| *stop)).await;
            }
        });
    }
    shutdown.await;
    let _ = stop.send(true);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            return Err(Error::Unexpected(format!("a source's task ended by itself: {error}")));
        }
    }
    Ok(())
}

/// Drains each source, all at once; returns how each ended, in the order given.
pub async fn drain(sources: Vec<Databases>, timeout: Duration) -> Vec<Result<Drained>> {
    let drained = sources.into_iter().map(|source| consumer::drain(source, timeout));
    futures_util::future::join_all(drained).await
}
