"""Run the stages of a run: collect, train, rewards and evaluate. Estimate what they will take, and branch runs. See README.md."""
