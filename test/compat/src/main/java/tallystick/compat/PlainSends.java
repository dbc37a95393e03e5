package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages one by one, in the three ways of the client, and what a push consumer makes of them. */
final class PlainSends implements Scenario {
    private static final int SYNC = 200;
    private static final int ASYNC = 100;
    private static final int ONE_WAY = 20;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("plain");
        DefaultMQProducer producer = stage.producer("plain-producer");
        Map<String, Set<Long>> offsets = new TreeMap<>();

        stage.check("sync sends are stored, with dense offsets per queue", () -> {
            for (int n = 0; n < SYNC; n++) {
                Message message = new Message(topic, n % 2 == 0 ? "even" : "odd", "key-" + n, Received.bytes("sync-" + n));
                message.putUserProperty("currency", "元 " + n);
                SendResult result = producer.send(message);
                require(result.getSendStatus() == SendStatus.SEND_OK, "message " + n + ": " + result.getSendStatus());
                require(result.getOffsetMsgId().length() == 32, "offset id " + result.getOffsetMsgId());
                offsets.computeIfAbsent(result.getMessageQueue().toString(), queue -> new TreeSet<>()).add(result.getQueueOffset());
            }
            for (Map.Entry<String, Set<Long>> entry : offsets.entrySet()) {
                long expected = 0;
                for (long offset : entry.getValue()) require(offset == expected++, entry.getKey() + " has offsets " + entry.getValue());
            }
            return SYNC + " messages in " + offsets.size() + " queues";
        });

        stage.check("asynchronous sends call back with a stored result", () -> {
            CountDownLatch answered = new CountDownLatch(ASYNC);
            Map<String, String> problems = new ConcurrentHashMap<>();
            for (int n = 0; n < ASYNC; n++) {
                String body = "async-" + n;
                producer.send(new Message(topic, "async", Received.bytes(body)), new SendCallback() {
                    @Override
                    public void onSuccess(SendResult result) {
                        if (result.getSendStatus() != SendStatus.SEND_OK) problems.put(body, result.getSendStatus().name());
                        answered.countDown();
                    }

                    @Override
                    public void onException(Throwable problem) {
                        problems.put(body, problem.toString());
                        answered.countDown();
                    }
                });
            }
            require(answered.await(30, TimeUnit.SECONDS), answered.getCount() + " sends never answered");
            require(problems.isEmpty(), problems.toString());
            return ASYNC + " messages";
        });

        stage.check("one-way sends leave without an answer", () -> {
            for (int n = 0; n < ONE_WAY; n++) producer.sendOneway(new Message(topic, "oneway", Received.bytes("oneway-" + n)));
            return ONE_WAY + " messages";
        });

        stage.check("a body over the compression threshold arrives whole", () -> {
            String body = "reliable messages ".repeat(2_000);
            producer.send(new Message(topic, "large", Received.bytes(body)));
            Received large = new Received();
            stage.consuming("plain-large", topic, "large", large);
            await("the large message", () -> large.count(body) == 1, () -> large.all.size() + " deliveries");
            return body.length() + " bytes";
        });

        stage.check("a push consumer receives every message with its body, tag, keys and properties", () -> {
            Received received = new Received();
            stage.consuming("plain-all", topic, "*", received);
            int expected = SYNC + ASYNC + ONE_WAY + 1;
            await("all deliveries", () -> received.bodies().size() == expected, () -> received.bodies().size() + " of " + expected);
            for (MessageExt message : received.all) {
                String body = Received.text(message);
                if (!body.startsWith("sync-")) continue;
                int n = Integer.parseInt(body.substring(5));
                require(message.getKeys().equals("key-" + n), body + " has keys " + message.getKeys());
                require(message.getTags().equals(n % 2 == 0 ? "even" : "odd"), body + " has tag " + message.getTags());
                require(("元 " + n).equals(message.getUserProperty("currency")), body + " has property " + message.getUserProperty("currency"));
                require(message.getReconsumeTimes() == 0, body + " was redelivered");
                require(Math.abs(message.getStoreTimestamp() - message.getBornTimestamp()) < 60_000, body + " has a strange store time");
            }
            return received.all.size() + " deliveries of " + expected;
        });

        stage.check("a subscription by tags receives those tags only", () -> {
            Received received = new Received();
            stage.consuming("plain-tagged", topic, "even || oneway", received);
            int expected = SYNC / 2 + ONE_WAY;
            await("the tagged deliveries", () -> received.bodies().size() >= expected, () -> received.bodies().size() + " of " + expected);
            Set<String> tags = received.all.stream().map(MessageExt::getTags).collect(Collectors.toSet());
            require(tags.equals(Set.of("even", "oneway")), "tags " + tags);
            return received.all.size() + " deliveries";
        });
    }
}
