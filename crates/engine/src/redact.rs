//! The one place through which everything goes that a run keeps or shows.

use std::borrow::Cow;
use std::sync::{LazyLock, PoisonError, RwLock};

use model::event::Event;
use model::redact::Redactor;

/// What this process knows to be secret: values of its environment, and what it
/// learns on the way.
static KNOWN: LazyLock<RwLock<Redactor>> =
    LazyLock::new(|| RwLock::new(Redactor::of_environment(variables())));

/// Those that are no text cannot be found in one.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Never lets this value through again.
pub fn learn(secret: &str) {
    KNOWN
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .learn(secret);
}

pub fn text(text: &str) -> Cow<'_, str> {
    KNOWN
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .text(text)
}

/// # Errors
/// A name or an address is a secret: without it the event says nothing.
pub fn event(event: Event) -> Result<Event, serde_json::Error> {
    let mut value = serde_json::to_value(&event)?;
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    if known.value(&mut value) {
        serde_json::from_value(value)
    } else {
        Ok(event)
    }
}
