//! Reading through a cache: values are encoded as JSON.

use std::{error::Error, future::Future, marker::PhantomData, sync::Arc};

use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{Cache, CacheKey, LoadError, Namespace, Result};

/// The error of a failed fetch; only a loader fails, or a cached value cannot be decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the value could not be loaded")]
pub struct FetchError(#[source] pub LoadError);

/// A value as it is cached, for callers that remember what they made of it.
#[derive(Debug)]
pub struct Encoded<T> {
    key: CacheKey,
    bytes: Arc<[u8]>,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send> Encoded<T> {
    /// The encoded value; all reads of one load in this process share one allocation.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The value. One that cannot be decoded is invalidated.
    pub async fn decode(&self, cache: &dyn Cache) -> Result<T, FetchError> {
        match serde_json::from_slice(&self.bytes) {
            Ok(value) => Ok(value),
            Err(error) => {
                // The shape changed without a new version, or the key was written by another program. The next read
                // reloads it.
                tracing::error!(key = self.key.as_str(), %error, "cached value unreadable");
                cache.invalidate(std::slice::from_ref(&self.key)).await;
                Err(FetchError(Arc::new(error)))
            }
        }
    }
}

/// The value of `id`, from the cache or else from `load`; `None` is cached too.
pub async fn fetch<T, E, F>(
    cache: &dyn Cache,
    namespace: &Namespace,
    id: &str,
    load: impl FnOnce() -> F + Send + 'static,
) -> Result<Option<T>, FetchError>
where
    T: Serialize + DeserializeOwned + Send,
    E: Error + Send + Sync + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send,
{
    match fetch_encoded::<T, E, F>(cache, namespace, id, load).await? {
        Some(found) => found.decode(cache).await.map(Some),
        None => Ok(None),
    }
}

/// The same, not decoded yet.
pub async fn fetch_encoded<T, E, F>(
    cache: &dyn Cache,
    namespace: &Namespace,
    id: &str,
    load: impl FnOnce() -> F + Send + 'static,
) -> Result<Option<Encoded<T>>, FetchError>
where
    T: Serialize + DeserializeOwned + Send,
    E: Error + Send + Sync + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send,
{
    let loader = async move {
        let value = load().await.map_err(|error| Arc::new(error) as LoadError)?;
        let encode =
            |value: T| serde_json::to_vec(&value).map(Arc::from).map_err(|e| Arc::new(e) as LoadError);
        value.map(encode).transpose()
    };
    let key = namespace.key(id);
    let loaded = cache.get_or_load(namespace, key.clone(), loader.boxed()).await.map_err(FetchError)?;
    Ok(loaded.map(|bytes| Encoded { key, bytes, value: PhantomData }))
}
