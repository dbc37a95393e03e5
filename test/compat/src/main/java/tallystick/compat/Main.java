package tallystick.compat;

import java.util.List;

/**
 * Drives the broker at {@code args[0]} through Apache RocketMQ's Java client and prints one line per check:
 * {@code ok|FAILED <tab> name <tab> milliseconds <tab> detail}. Names of topics and groups carry {@code args[1]}, so that several runs
 * fit one broker. Exits with the number of failed checks.
 */
public final class Main {
    public static void main(String[] args) {
        Stage stage = new Stage(args[0], args[1]);
        List<Scenario> scenarios = List.of(
            new PlainSends(), new BatchSends(), new Offsets(), new OrderlyConsumption(), new SharedGroup(), new Retries(), new Transactions());
        int failed = 0;
        for (Scenario scenario : scenarios) failed += stage.play(scenario);
        // The client's own threads are not all daemons.
        System.exit(failed);
    }
}
