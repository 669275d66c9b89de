//! What happens, as it happens: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use model::publication::News;
use tokio::sync::broadcast::error::RecvError;

use crate::auth::Caller;
use crate::state::Shared;

/// So that proxies do not give up, and a reader notices when the registry is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a reader waits before it comes back.
const RETRY: Duration = Duration::from_secs(2);

pub(super) async fn stream(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let fleet = caller.fleet().map(str::to_owned);
    let mut stopping = shared.stopping();
    let news = futures::stream::unfold(shared.listen(), move |mut news| {
        let fleet = fleet.clone();
        async move {
            loop {
                let event = match news.recv().await {
                    Ok((of, _)) if fleet.as_ref().is_some_and(|fleet| *fleet != of) => continue,
                    Ok((_, news)) => event(&news),
                    Err(RecvError::Lagged(count)) => {
                        Event::default().event("missed").data(count.to_string())
                    }
                    Err(RecvError::Closed) => return None,
                };
                return Some((Ok(event), news));
            }
        }
    });
    let hello = futures::stream::once(async {
        Ok(Event::default().retry(RETRY).event("hello").data("{}"))
    });
    let until = async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let all = futures::StreamExt::chain(hello, news);
    Sse::new(futures::StreamExt::take_until(all, until))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(news: &News) -> Event {
    let name = match news {
        News::Entry { .. } => "entry",
        News::Removed { .. } => "removed",
        News::Decided { .. } => "decided",
        News::Peer { .. } => "peer",
    };
    let data = serde_json::to_string(news).unwrap_or_default();
    Event::default().event(name).data(data)
}
