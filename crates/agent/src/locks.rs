//! One change at a time for each name; different names do not wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

#[derive(Clone, Debug, Default)]
pub(crate) struct NameLocks(Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>);

impl NameLocks {
    /// Waits for the name; it is free again when the guard is dropped.
    pub(crate) async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(name.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_held_by_one_and_forgotten_when_free() {
        let locks = NameLocks::default();
        let held = locks.lock("a").await;
        let _other = locks.lock("b").await;
        let again = locks.clone();
        let waiting = tokio::task::spawn(async move { again.lock("a").await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        drop(waiting.await.unwrap());
        drop(locks.lock("c").await);
        assert!(!locks.0.lock().unwrap().contains_key("a"));
    }
}
