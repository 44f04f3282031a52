//! Slots counted by key, so that one holder of many cannot take all slots of the others.
//!
//! Bounds the slots of each key, not their sum: callers bound the sum, and with it the number of keys.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// How many slots each key has taken.
pub(crate) struct KeyedSlots<K> {
    per_key: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// A slot; freed on drop.
pub(crate) struct KeyedSlot<K: Hash + Eq + Clone> {
    slots: Arc<KeyedSlots<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> KeyedSlots<K> {
    pub(crate) fn new(per_key: usize) -> Arc<Self> {
        Arc::new(Self { per_key, taken: Mutex::default() })
    }

    /// Takes a slot of this key; `None` if the key has used up its slots.
    pub(crate) fn take(self: &Arc<Self>, key: K) -> Option<KeyedSlot<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&key).copied().unwrap_or_default();
        if count >= self.per_key {
            return None;
        }
        taken.insert(key.clone(), count + 1);
        Some(KeyedSlot { slots: Arc::clone(self), key })
    }
}

impl<K: Hash + Eq + Clone> Drop for KeyedSlot<K> {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_slots_and_gets_them_back() {
        let slots = KeyedSlots::new(2);
        let held = [slots.take("a"), slots.take("a"), slots.take("b")];
        assert!(held.iter().all(Option::is_some) && slots.take("a").is_none());
        drop(held);
        assert!(slots.taken.lock().expect("not poisoned").is_empty(), "no key stays");
        assert!(slots.take("a").is_some());
    }
}
