package tallystick.compat;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.Callable;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;

/** Where scenarios play: makes clients and closes them in reverse, runs checks and reports them, waits for conditions with a limit. */
final class Stage {
    private static final long WAIT_LIMIT_MS = 60_000;

    private final String address;
    private final String run;
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private int failed;
    private int clients;

    Stage(String address, String run) {
        this.address = address;
        this.run = run;
    }

    /** Plays a scenario to its end or to the first failed check, then closes what it opened. Answers how many checks failed. */
    int play(Scenario scenario) {
        int before = failed;
        try {
            scenario.play(this);
        } catch (FailedCheck failure) {
            // Reported where it happened; what follows in this scenario rests on it.
        } catch (Exception unexpected) {
            report(false, scenario.getClass().getSimpleName() + " runs to its end", 0, unexpected.toString());
        }
        while (!closers.isEmpty()) closers.pop().run();
        return failed - before;
    }

    /** Runs one check; its text is the detail on the line. An exception or {@link #require} ends the scenario. */
    void check(String name, Callable<String> body) {
        long began = System.nanoTime();
        try {
            String detail = body.call();
            report(true, name, System.nanoTime() - began, detail);
        } catch (Exception | AssertionError failure) {
            report(false, name, System.nanoTime() - began, failure.toString());
            throw new FailedCheck();
        }
    }

    static void require(boolean holds, String otherwise) {
        if (!holds) throw new AssertionError(otherwise);
    }

    /** Waits until a condition holds; fails with what was seen after a minute. */
    static void await(String what, BooleanSupplier holds, Callable<String> seen) throws Exception {
        long deadline = System.nanoTime() + WAIT_LIMIT_MS * 1_000_000;
        while (!holds.getAsBoolean()) {
            require(System.nanoTime() < deadline, what + " did not happen in " + WAIT_LIMIT_MS + " ms; seen: " + seen.call());
            Thread.sleep(20);
        }
    }

    String name(String base) {
        return base + "-" + run;
    }

    /** What all clients share: where the broker is, and short intervals, so that a new topic's route is noticed at once. */
    void settle(ClientConfig client, String instance) {
        client.setNamesrvAddr(address);
        client.setInstanceName(instance);
        client.setPollNameServerInterval(500);
        client.setHeartbeatBrokerInterval(1_000);
        client.setPersistConsumerOffsetInterval(1_000);
    }

    DefaultMQProducer producer(String group) throws Exception {
        return started(new DefaultMQProducer(name(group)));
    }

    /** Starts a producer of any kind under its own client instance. */
    <P extends DefaultMQProducer> P started(P producer) throws Exception {
        settle(producer, "p" + ++clients);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        closers.push(producer::shutdown);
        return producer;
    }

    /** A push consumer that reads a topic from its beginning; not started yet. */
    DefaultMQPushConsumer consumer(String group, String topic, String tags) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(name(group));
        settle(consumer, "c" + ++clients);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, tags);
        closers.push(consumer::shutdown);
        return consumer;
    }

    DefaultMQPushConsumer consuming(String group, String topic, String tags, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group, topic, tags);
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    DefaultMQPushConsumer consumingInOrder(String group, String topic, MessageListenerOrderly listener) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group, topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    private void report(boolean ok, String name, long nanos, String detail) {
        if (!ok) failed++;
        System.out.println((ok ? "ok" : "FAILED") + "\t" + name + "\t" + nanos / 1_000_000 + "\t" + detail.replaceAll("\\s+", " "));
    }

    private static final class FailedCheck extends RuntimeException {
        private static final long serialVersionUID = 1;
    }
}
