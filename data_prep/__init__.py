"""Data preparation: from raw pictures to sharded records that training reads at full speed."""
