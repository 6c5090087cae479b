//! One process for several sources, each with connections, workers and failures of its own: one that is down slows no other.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::consumer::{self, Drained};
use crate::error::{Error, Result};
use crate::options::Databases;

/// Consumes from each source until `shutdown`. Fails where one of them cannot be what it was said to be.
pub async fn run(sources: Vec<Databases>, shutdown: impl Future<Output = ()>) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let runs = sources.into_iter().map(|source| {
        let mut stopped = stopped.clone();
        tokio::spawn(consumer::run(source, async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }))
    });
    let mut ended = futures_util::future::join_all(runs.collect::<Vec<_>>());
    let ended = tokio::select! {
        ended = &mut ended => ended,
        () = shutdown => {
            let _ = stop.send(true);
            ended.await
        }
    };
    let by_itself = |error| Error::Unexpected(format!("a source's task ended by itself: {error}"));
    ended.into_iter().try_for_each(|ended| ended.map_err(by_itself)?)
}

/// Drains each source, all at once; returns how each ended, in the order given.
pub async fn drain(sources: Vec<Databases>, timeout: Duration) -> Vec<Result<Drained>> {
    let drained = sources.into_iter().map(|source| consumer::drain(source, timeout));
    futures_util::future::join_all(drained).await
}
