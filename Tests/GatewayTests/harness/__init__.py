"""What the tests run against: the real gateway, a real redis-server and replicas that misbehave on request."""
