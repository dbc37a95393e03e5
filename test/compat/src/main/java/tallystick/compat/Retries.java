package tallystick.compat;

import static tallystick.compat.Stage.await;
import static tallystick.compat.Stage.require;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** A consumer that asks for a later attempt gets it; one that never succeeds ends in the dead-letter topic. */
final class Retries implements Scenario {
    private static final int RETRIES = 2;

    @Override
    public void play(Stage stage) throws Exception {
        String topic = stage.name("retry");
        DefaultMQProducer producer = stage.producer("retry-producer");
        Map<String, List<Integer>> attempts = new ConcurrentHashMap<>();
        Map<String, String> ids = new ConcurrentHashMap<>();

        DefaultMQPushConsumer consumer = stage.consumer("retry-group", topic, "*");
        consumer.setMaxReconsumeTimes(RETRIES);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            for (MessageExt message : messages) {
                String body = Received.text(message);
                attempts.computeIfAbsent(body, key -> new CopyOnWriteArrayList<>()).add(message.getReconsumeTimes());
                String earlier = ids.putIfAbsent(body, message.getMsgId());
                require(earlier == null || earlier.equals(message.getMsgId()), body + " changed its id");
                require(message.getTopic().equals(topic), body + " came under topic " + message.getTopic());
                if (body.equals("poison") || body.equals("flaky") && message.getReconsumeTimes() == 0)
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.start();

        stage.check("a message that failed once is delivered again under its own topic and id", () -> {
            for (String body : List.of("sound", "flaky", "poison")) producer.send(new Message(topic, "tag", "key-" + body, Received.bytes(body)));
            await("the second attempt", () -> attempts.getOrDefault("flaky", List.of()).size() == 2, () -> attempts.toString());
            require(attempts.get("flaky").equals(List.of(0, 1)), "attempts " + attempts);
            return "attempts " + attempts.get("flaky");
        });

        stage.check("a message that keeps failing ends in the group's dead-letter topic", () -> {
            Received dead = new Received();
            List<Integer> all = new ArrayList<>();
            for (int n = 0; n <= RETRIES; n++) all.add(n);
            await("all attempts", () -> all.equals(attempts.get("poison")), () -> attempts.toString());
            // The topic is made with the first dead letter: until then the reader's route look-up finds nothing and is repeated.
            stage.consuming("retry-mender", MixAll.getDLQTopic(stage.name("retry-group")), "*", dead);
            await("the dead letter", () -> dead.count("poison") == 1, () -> dead.bodies().toString());
            MessageExt letter = dead.all.get(0);
            require("key-poison".equals(letter.getKeys()), "keys " + letter.getKeys());
            require(topic.equals(letter.getProperty("RETRY_TOPIC")), "origin " + letter.getProperty("RETRY_TOPIC"));
            require(attempts.get("sound").equals(List.of(0)), "the sound message came " + attempts.get("sound"));
            return "attempts " + attempts.get("poison") + ", then 1 dead letter";
        });

        stage.check("a delayed message comes after its delay and not before", () -> {
            Received received = new Received();
            String delayed = stage.name("delayed");
            stage.consuming("delayed-group", delayed, "*", received);
            producer.send(new Message(delayed, Received.bytes("first")));
            await("the first", () -> received.count("first") == 1, () -> received.bodies().toString());
            Message message = new Message(delayed, Received.bytes("later"));
            message.setDelayTimeLevel(2);
            long sent = System.nanoTime();
            producer.send(message);
            producer.send(new Message(delayed, Received.bytes("now")));
            await("both", () -> received.bodies().size() == 3, () -> received.bodies().toString());
            long tookMs = (System.nanoTime() - sent) / 1_000_000;
            require(Received.text(received.all.get(1)).equals("now"), "the delayed one came first");
            require(tookMs >= 900, "the delayed one came after " + tookMs + " ms");
            return "the undelayed one overtook it";
        });
    }
}
