//! What the random test has found, shrunk, each as the claim that did not hold.
