"""Parts of the load tester: what is said, when it is sent, what comes back, and what that means to a listener."""
